"""Write docs/neurons.md, docs/data.md, docs/experiments.md and its table, from code and configs, nothing typed twice.

python scripts/document.py          write the pages
python scripts/document.py --check  only say whether they are up to date (exit 1 if not)
"""

import argparse
import inspect
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "neurons.md"

# In the order of the papers, baselines first.
GROUPS = {
    "Step by step: the baselines": [
        *["if", "lif", "plif", "klif", "glif", "alif", "se_adlif"],
        *["lif_multi_spike", "lif_single_spike"],
    ],
    "Without reset": ["lif_no_reset", "spsn"],
    "PSN": ["psn", "masked_psn", "sliding_psn"],
    "PSU": ["psu", "ipsu", "ipsu_estimated", "rpsu"],
    "MPE-PSN": ["mpe_psn", "mpe_psn_local"],
    "Block": ["block", "block_v1"],
}
# Sizes at which a neuron is built to read its shapes, each a number that stands for nothing else.
STEPS, FEATURES, ORDER = 11, 7, 5
SYMBOLS = {STEPS: "T", STEPS - 1: "T-1", FEATURES: "F", ORDER: "k"}

HEAD = """# Neurons

Written by `python scripts/document.py` from the classes in snnrepro/neurons; edit those.

Every neuron takes current `[T, B, *]` and gives spikes `[T, B, *]` in {0, 1}: T time-steps, B samples, then features
(dim 2) and any further dimensions. `neuron.membrane(x)` is the potential just before firing. `neuron.stream(x, state)`
takes chunks in time, for causal neurons, and gives the spikes of the whole for any split, up to the rounding of a
membrane that lies on its threshold. `neuron.operations(T)` is its own arithmetic. Half precision is computed in fp32.
A NaN current gives a NaN membrane and no spike; in a product over time (`weight` [T, T]) it reaches all steps.

In the equations, 1[...] is 1 where the condition holds; x before the first step is 0, and so is every state unless it
is said. MACs, ACs (additions) and kept bytes are those of one neuron and one sample at T = 16, k = T: useful work only.
*Takes any T*: built for one length, runs at another.
"""


def groups() -> dict[str, list[str]]:
    """GROUPS, and under a title of their own the configs that are in none."""
    known = {name for names in GROUPS.values() for name in names}
    files = sorted(file.stem for file in (ROOT / "configs" / "neuron").glob("*.yaml"))
    further = [name for name in files if name not in known]
    return GROUPS | ({"Further neurons": further} if further else {})


def build(name: str, num_steps: int = STEPS, **changes: Any) -> Any:
    """The neuron of a config; of `changes` those that it has a key for."""
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    config: Any = OmegaConf.load(ROOT / "configs" / "neuron" / f"{name}.yaml")
    config.update({key: value for key, value in changes.items() if key in config})
    return instantiate(config, _convert_="all")(num_steps=num_steps, num_features=FEATURES)


def parameters(neuron: Any) -> str:
    """Names and shapes of what state_dict holds, parameters first; noise and surrogate as one word each."""
    learned = {name for name, parameter in neuron.named_parameters() if parameter.requires_grad}
    words = []
    for name, value in neuron.state_dict().items():
        if name in ("noise_key", "draw"):
            continue
        shape = ", ".join(SYMBOLS.get(size, str(size)) for size in value.shape)
        words.append(f"`{name}` [{shape}]" + ("" if name in learned else " (not learned)"))
    return ", ".join(words) or "none"


def table() -> list[str]:
    columns = ["`neuron=`", "class", "causal", "takes any T", "stochastic", "fires where", "forms", "in state_dict"]
    columns += ["MACs", "ACs", "sigmoids", "kept bytes"]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for name in (name for names in groups().values() for name in names):
        neuron = build(name, order=ORDER)
        masked = build(name, 16, lambda_=1.0)
        operations = masked.operations(16)
        causal = "yes" if neuron.causal else "when masked" if masked.causal else "no"
        drawn = "drawn" if name == "spsn" else "h >= threshold" if neuron.fires_at_threshold else "h > threshold"
        cells = [
            f"[`{name}`](#{anchor(neuron)})",
            type(neuron).__name__,
            causal,
            "no" if neuron.fixed_length else "yes",
            "yes" if neuron.stochastic else "no",
            drawn,
            ", ".join(f"`{form}`" for form in neuron.backends),
            parameters(neuron),
            f"{operations.macs:g}",
            f"{operations.acs:g}",
            f"{operations.function_evaluations:g}",
            f"{operations.state_bytes}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def anchor(neuron: Any) -> str:
    return type(neuron).__name__.lower()


def section(neuron: Any, names: list[str]) -> list[str]:
    """A class: its docstring, equations as code, and the configs that use it."""
    lines = [f"### {type(neuron).__name__}", ""]
    configs = ", ".join(f"[`neuron={name}`](../configs/neuron/{name}.yaml)" for name in names)
    module = type(neuron).__module__
    lines += [f"{configs} — [{module}](../{module.replace('.', '/')}.py)", ""]
    for paragraph in re.split(r"\n\s*\n", inspect.getdoc(type(neuron)) or ""):
        if paragraph.startswith("    "):
            lines += ["```", inspect.cleandoc("\n" + paragraph), "```", ""]
        else:
            lines += [labelled(paragraph), ""]
    return lines


def labelled(paragraph: str) -> str:
    """Cost, Source, Differences and Raises each as an item of their own."""
    marked = re.sub(r"(?m)^(Cost|Source|Differences): ", r"- **\1.** ", paragraph)
    marked = re.sub(r"(?m)^Raises UserError", "- **Raises** UserError", marked)
    # Items follow a paragraph only after an empty line.
    return re.sub(r"(?m)\A((?:(?!- \*\*).*\n)+)(?=- \*\*)", r"\1\n", marked)


def page() -> str:
    import torch

    torch.manual_seed(0)
    lines = [HEAD, *table(), ""]
    for title, names in groups().items():
        lines += [f"## {title}", ""]
        by_class: dict[type, list[str]] = {}
        for name in names:
            by_class.setdefault(type(build(name)), []).append(name)
        for members in by_class.values():
            lines += section(build(members[0]), members)
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    import document_data
    import document_experiments

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is not up to date")
    arguments = parser.parse_args()
    found = document_experiments.rows()
    pages = {
        PAGE: page(),
        document_data.PAGE: document_data.page(),
        document_experiments.PAGE: document_experiments.page(found),
        document_experiments.TABLE: document_experiments.table(found),
    }
    for file, text in pages.items():
        if arguments.check:
            if not file.is_file() or file.read_text() != text:
                sys.exit(f"error: {file.relative_to(ROOT)} is not up to date: run python scripts/document.py")
            continue
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        print(f"written: {file.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
