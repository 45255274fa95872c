"""Claims, runs, speed-ups and counters as one HTML file that needs neither network nor server.

The parts lie in the folder `page` beside this file: template.html, page.css, and the page's script in several files.
"""

import base64
import functools
import hashlib
import json
import string
from importlib.resources import files
from typing import Any

# One script: each file uses what those before it define.
SCRIPTS = (
    "format.js",
    "dom.js",
    "state.js",
    "table.js",
    "plots.js",
    "claims.js",
    "runs.js",
    "runs_table.js",
    "compare.js",
    "compare_plots.js",
    "rates_over_time.js",
    "pareto.js",
    "speedups.js",
    "foot.js",
    "main.js",
)


def page(data: dict[str, Any]) -> str:
    """The whole page, about 1 MB and the data. All keys are there, numbers may be None, lists may be empty.

    title: a line. made: commit, dirty, command.
    metrics: the columns of runs. key; label; unit; better, "up", "down" or None; scale, by which a value is multiplied
    before it is shown in unit; about. The plots take as accuracy, energy (unit pJ to J) and training speed the first
    key that holds "accuracy", "energy", or "train" and "samples_per_second".
    claims: name, paper, experiment, dataset, statement, kind, metric, protocol, source, value, tolerance, ours,
    interval (texts), seeds, min_seeds, verdict, why, runs (indices), links (URLs of benchmarks), command.
    configs: common and own, texts by key. Of a run: common, replaced by own[run.config]; "" is a key that is not there.
    runs: id, group (id without seed), link, status, error, paper, experiment, dataset, architecture, neuron, seed,
    protocol, reduced (how) or None, partial, version, commit, dirty, device, threads, busy (share of the processor that
    other work took), command, config (index), metrics by key, layers (name, rate, silent, saturated), curve or None
    (epochs as they are to be shown, accuracy on the judged split, train, loss), rates or None (steps; rate, of all
    layers together).
    speedups: neuron, kernel, baseline, T, N, dtype, device, threads, pass, speedup, low, high, link.
    counters: net, counter, acs, macs, neuron_acs, neuron_macs, state_bytes, energy_pj, leaves_out, link.
    broken: file, why.

    Every link is a URL relative to where the page will lie. Raises ValueError for NaN and infinity, which JSON lacks.
    """
    held = _json(data)
    parts = files("snnrepro.ledger") / "page"
    css = (parts / "page.css").read_text("utf-8")
    own = "\n".join((parts / name).read_text("utf-8") for name in SCRIPTS)
    script = f'(() => {{\n"use strict";\n{own}\n}})();'
    vega = _vega()
    # Only these two scripts and this style are allowed, by their hashes, and no request: what a record holds can
    # neither run nor call home. Vega then has to interpret its expressions.
    policy = (
        f"default-src 'none'; script-src {_hash(script)} {_hash(vega)}; style-src {_hash(css)}; "
        "base-uri 'none'; form-action 'none'"
    )
    template = (parts / "template.html").read_text("utf-8")
    return string.Template(template).substitute(policy=policy, css=css, data=held, vega=vega, script=script)


@functools.cache
def _vega() -> str:
    """Vega, Vega-Lite and vegaEmbed, 0.9 MB; to bundle them takes a second."""
    from vl_convert import javascript_bundle

    return javascript_bundle("window.vegaEmbed = vegaEmbed;")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(data: dict[str, Any]) -> str:
    """JSON that no string in it can end: of ASCII alone, with <, > and & escaped."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")
