"""The papers' equations as NumPy loops and sums in float64, for the tests to hold the neurons to.

Shapes: x, noise, membrane, spikes `[T, B, F]`. Nothing here calls snnrepro: a formula reads a neuron's settings and the
numbers in its parameters, and gets its spikes from `fire`, a `Spike` or its smooth stand-in.
"""

import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def of(parameter):
    return parameter.detach().double().numpy()


class Spike:
    """1[u >= 0], or 1[u > 0] where not `at_threshold`; `margin` is how near any decision came to the other side."""

    def __init__(self, at_threshold: bool) -> None:
        self.at_threshold, self.margin = at_threshold, np.inf

    def __call__(self, u):
        self.margin = min(self.margin, np.abs(u).min(initial=np.inf))
        return (u >= 0 if self.at_threshold else u > 0).astype(float)

    def drawn(self, p, noise):
        """1 with probability p: where the noise, uniform in [0, 1), is below it."""
        self.margin = min(self.margin, np.abs(p - noise).min(initial=np.inf))
        return (noise < p).astype(float)

    def detached(self, s):
        return s


class SmoothSpike(Spike):
    """sigmoid(4 u) in place of the step. Spikes that pass no gradient keep the values of the first run."""

    def __init__(self) -> None:
        super().__init__(at_threshold=True)
        self.first, self.again = [], None

    def __call__(self, u):
        return sigmoid(4 * u)

    def detached(self, s):
        if self.again is not None:
            return next(self.again)
        self.first.append(s)
        return s

    def rewind(self) -> None:
        self.again = iter(self.first)


def integrate(x, fire, *, leak, gain, v_threshold, reset, v_reset, detach, k=None, scale_reset=False):
    """h = v - leak (v - rest) + gain x, with `k` relu(k h); then soft, hard or no reset, with h / k where scaled."""
    rest = v_reset if reset == "hard" else 0.0
    v, membrane, spikes = np.full(x.shape[1:], rest), [], []
    for current in x:
        h = v - leak * (v - rest) + gain * current
        h = h if k is None else np.maximum(k * h, 0)
        s = fire(h - v_threshold)
        r = fire.detached(s) if detach else s
        before, drop = (h / k, v_threshold / k) if scale_reset else (h, v_threshold)
        v = {"soft": before - r * drop, "hard": (1 - r) * before + r * v_reset, "none": before}[reset]
        membrane.append(h)
        spikes.append(s)
    return np.stack(membrane), np.stack(spikes)


def _resets(n):
    return {"v_threshold": n.v_threshold, "reset": n.reset, "v_reset": n.v_reset, "detach": n.detach_reset}


def if_(n, x, noise, fire):
    return integrate(x, fire, leak=0.0, gain=1.0, **_resets(n))


def lif(n, x, noise, fire):
    return integrate(x, fire, leak=1 / n.tau, gain=1 / n.tau if n.decay_input else 1.0, **_resets(n))


def plif(n, x, noise, fire):
    leak = sigmoid(of(n.w))
    return integrate(x, fire, leak=leak, gain=leak if n.decay_input else 1.0, **_resets(n))


def klif(n, x, noise, fire):
    gain = 1 / n.tau if n.decay_input else 1.0
    return integrate(x, fire, leak=1 / n.tau, gain=gain, k=of(n.k), scale_reset=n.scale_reset, **_resets(n))


def lif_no_reset(n, x, noise, fire):
    h, membrane = np.zeros(x.shape[1:]), []
    for current in x:
        h = h - h / n.tau + (current / n.tau if n.decay_input else current)
        membrane.append(h)
    return np.stack(membrane), fire(np.stack(membrane) - n.v_threshold)


def glif(n, x, noise, fire):
    names = ("alpha", "beta", "gamma", "tau", "linear_decay", "v_subreset", "v_threshold", "conduct")
    alpha, beta, gamma, tau, linear, subreset, threshold, conduct = (sigmoid(of(getattr(n, name))) for name in names)
    h = s = np.zeros(x.shape[1:])
    membrane, spikes = [], []
    for t, current in enumerate(x):
        D = (1 - alpha * (1 - tau)) * h
        reset = gamma * D + (1 - gamma) * subreset
        h = D - (1 - alpha) * linear + current * (1 - beta * (1 - conduct[t])) - s * reset
        s = fire(h - threshold)
        membrane.append(h)
        spikes.append(s)
    return np.stack(membrane), np.stack(spikes)


def alif(n, x, noise, fire):
    alpha, rho = np.exp(-1 / of(n.tau_m)), np.exp(-1 / of(n.tau_adp))
    h = s = np.zeros(x.shape[1:])
    a = np.full(x.shape[1:], n.v_threshold)
    membrane, spikes = [], []
    for current in x:
        a = rho * a + (1 - rho) * s
        theta = n.v_threshold + n.beta * a
        h = alpha * h + (1 - alpha) * current - theta * s
        s = fire(h - theta)
        membrane.append(h)
        spikes.append(s)
    return np.stack(membrane), np.stack(spikes)


def se_adlif(n, x, noise, fire):
    def decay(weight, bounds):
        weight = np.clip(of(weight), 0, 1)
        return np.exp(-1 / (weight * bounds[1] + (1 - weight) * bounds[0]))

    alpha, rho = decay(n.tau_u_weight, n.tau_u_range), decay(n.tau_w_weight, n.tau_w_range)
    a, b = np.clip(of(n.a), 0, 1), np.clip(of(n.b), 0, 2)
    v = w = np.zeros(x.shape[1:])
    membrane, spikes = [], []
    for current in x:
        u = alpha * v + (1 - alpha) * (current - w)
        s = fire(u - n.v_threshold)
        v = u * (1 - fire.detached(s))
        w = rho * w + (1 - rho) * n.q * (a * v + b * s)
        membrane.append(u)
        spikes.append(s)
    return np.stack(membrane), np.stack(spikes)


def over_time(matrix, x):
    """`[T, T]` times `[T, ...]`."""
    return np.stack([sum(matrix[i, j] * x[j] for j in range(len(x))) for i in range(len(matrix))])


def per_step(bias, x):
    return of(bias).reshape(-1, *[1] * (x.ndim - 1))


def psn(n, x, noise, fire):
    h = over_time(of(n.weight), x) + per_step(n.bias, x)
    return h, fire(h)


def psn_mask(T, k, lam):
    mask = np.zeros((T, T))
    for i in range(T):
        for j in range(T):
            mask[i, j] = lam * (j <= i <= j + k - 1) + (1 - lam)
    return mask


def masked_psn(n, x, noise, fire):
    weight = of(n.weight) * psn_mask(len(x), n.order, float(n.lambda_))
    h = over_time(weight, x) + per_step(n.bias, x)
    return h, fire(h)


def sliding_psn(n, x, noise, fire):
    w, h = of(n.weight), np.zeros_like(x) + of(n.bias)
    k = len(w)
    for t in range(len(x)):
        for i in range(k):
            if t - k + 1 + i >= 0:
                h[t] += w[i] * x[t - k + 1 + i]
    return h, fire(h)


def psu_matrices(T, tau):
    """A and R `[T, T]`."""
    A, R = np.zeros((T, T)), np.zeros((T, T))
    for i in range(T):
        for j in range(i + 1):
            A[i, j] = tau ** -(i - j + 1)
            R[i, j] = -(tau ** -(i - j)) if j < i else 0
    return A, R


def psu(n, x, noise, fire):
    A, R = psu_matrices(len(x), n.tau)
    D = over_time(A, x)
    h = D + n.v_threshold * over_time(R, sigmoid(D))
    return h, fire(h - n.v_threshold)


def ipsu(n, x, noise, fire):
    """As released: R X, without sigmoid and threshold."""
    _, R = psu_matrices(len(x), n.tau)
    h = over_time(np.tril(of(n.weight)), x) + per_step(n.bias, x) + over_time(R, x)
    return h, fire(h - n.v_threshold)


def ipsu_estimated(n, x, noise, fire):
    _, R = psu_matrices(len(x), n.tau)
    D = over_time(np.tril(of(n.weight)), x) + per_step(n.bias, x)
    h = D + over_time(R, sigmoid(D))
    return h, fire(h - n.v_threshold)


def rpsu(n, x, noise, fire):
    A, R = psu_matrices(len(x), n.tau)
    h = over_time(A, x) + over_time(R, sigmoid(over_time(np.tril(of(n.weight)), x) + per_step(n.bias, x)))
    return h, fire(h - n.v_threshold)


def mpe_estimate(x, noise, fire):
    """vhat: x, but 0 where the step is drawn to have fired."""
    return (1 - fire.drawn(sigmoid(x), noise)) * x


def mpe_psn(n, x, noise, fire):
    vhat = mpe_estimate(x, noise, fire)
    h = np.stack([x[t] + (n.beta * vhat[t - 1] if t > 0 else 0) for t in range(len(x))])
    return h, fire(h - of(n.v_threshold))


def mpe_psn_local(n, x, noise, fire):
    vhat = mpe_estimate(x, noise, fire)
    h = np.stack([x[t] + (n.beta * vhat[t] if t > 0 else 0) for t in range(len(x))])
    return h, fire(h - of(n.v_threshold))


def block(n, x, noise, fire):
    beta, steps = np.clip(of(n.beta), 0, 1), range(len(x))
    V = np.stack([sum(beta ** (t - k) * x[k] for k in range(t + 1)) for t in steps])
    F = fire(V - n.v_threshold)
    z = np.stack([sum((t - k + 1) * F[k] for k in range(t + 1)) for t in steps])
    return V, (z == 1).astype(float)


def lif_multi_spike(n, x, noise, fire):
    beta = np.clip(of(n.beta), 0, 1)
    v = np.zeros(x.shape[1:])
    membrane, spikes = [], []
    for current in x:
        V = beta * v + current
        s = fire(V - n.v_threshold)
        v = V - s * n.v_threshold
        membrane.append(V)
        spikes.append(s)
    return np.stack(membrane), np.stack(spikes)


def lif_single_spike(n, x, noise, fire):
    beta = np.clip(of(n.beta), 0, 1)
    v = fired = np.zeros(x.shape[1:])
    membrane, spikes = [], []
    for current in x:
        V = beta * v + current
        s = fire(V - n.v_threshold) * (1 - fired)
        V = V * (1 - fired)
        v = V - s * n.v_threshold
        fired = np.maximum(fired, s)
        membrane.append(V)
        spikes.append(s)
    return np.stack(membrane), np.stack(spikes)


def spsn(n, x, noise, fire):
    D = over_time(psu_matrices(len(x), n.tau)[0], x)
    return D, fire.drawn(sigmoid(D), noise)
