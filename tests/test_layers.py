"""Layers as people first write them: right ones are CORRECT, and of wrong ones the argument is named."""

# ruff: noqa: RUF059  (layers stand here as they are written)

import copy
import inspect

import numpy as np
import pytest

import gradproof
from gradproof import FunctionError, UsageError, Verdict, check_layer

R = np.random.default_rng(12)


def normal(*shape):
    return R.normal(size=shape)


@pytest.fixture(autouse=True)
def same_draws():
    """What a test draws does not depend on which tests ran before."""
    R.bit_generator.state = np.random.default_rng(5).bit_generator.state


# ---------------------------------------------------------------------------------------------------------- cs231n
# As in the assignments. `fault` names the argument whose gradient has one planted mistake.


def affine_forward(x, w, b):
    out = x.reshape(x.shape[0], -1).dot(w) + b
    cache = (x, w, b)
    return out, cache


def affine_backward(dout, cache, fault=""):
    x, w, b = cache
    dx = dout.dot(w.T).reshape(x.shape)
    dw = x.reshape(x.shape[0], -1).T.dot(dout)
    db = np.sum(dout, axis=0)
    if fault == "x":
        dx = dout.dot(np.abs(w.T)).reshape(x.shape)
    if fault == "w":
        dw[0] = 0
    if fault == "b":
        db = np.mean(dout, axis=0)
    return dx, dw, db


def relu_forward(x):
    return np.maximum(0, x), x


def relu_backward(dout, cache, fault=""):
    dx = dout.copy()
    dx[cache <= (0.5 if fault else 0)] = 0
    return dx


def conv_forward_naive(x, w, b, conv_param):
    N, C, H, W = x.shape
    F, _, HH, WW = w.shape
    pad, stride = conv_param["pad"], conv_param["stride"]
    Hout, Wout = 1 + (H + 2 * pad - HH) // stride, 1 + (W + 2 * pad - WW) // stride
    x_pad = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out = np.zeros((N, F, Hout, Wout))
    for n in range(N):
        for f in range(F):
            for i in range(Hout):
                for j in range(Wout):
                    window = x_pad[n, :, i * stride : i * stride + HH, j * stride : j * stride + WW]
                    out[n, f, i, j] = np.sum(window * w[f]) + b[f]
    return out, (x, w, b, conv_param)


def conv_backward_naive(dout, cache, fault=""):
    x, w, b, conv_param = cache
    pad, stride = conv_param["pad"], conv_param["stride"]
    _, _, HH, WW = w.shape
    x_pad = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    dx_pad, dw, db = np.zeros_like(x_pad), np.zeros_like(w), np.sum(dout, axis=(0, 2, 3))
    N, F, Hout, Wout = dout.shape
    for n in range(N):
        for f in range(F):
            for i in range(Hout):
                for j in range(Wout):
                    rows, columns = slice(i * stride, i * stride + HH), slice(j * stride, j * stride + WW)
                    dw[f] += x_pad[n, :, rows, columns] * dout[n, f, i, j]
                    if fault == "x":
                        dx_pad[n, :, rows, columns] = w[f] * dout[n, f, i, j]
                    else:
                        dx_pad[n, :, rows, columns] += w[f] * dout[n, f, i, j]
    if fault == "w":
        dw = dw[:, :, ::-1, ::-1]
    if fault == "b":
        db = np.sum(dout, axis=(0, 2))[:, 0]
    return dx_pad[:, :, pad:-pad, pad:-pad], dw, db


def max_pool_forward_naive(x, pool_param):
    N, C, H, W = x.shape
    h, w, s = pool_param["pool_height"], pool_param["pool_width"], pool_param["stride"]
    out = np.zeros((N, C, 1 + (H - h) // s, 1 + (W - w) // s))
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            out[:, :, i, j] = x[:, :, i * s : i * s + h, j * s : j * s + w].max(axis=(2, 3))
    return out, (x, pool_param)


def max_pool_backward_naive(dout, cache, fault=""):
    x, pool_param = cache
    h, w, s = pool_param["pool_height"], pool_param["pool_width"], pool_param["stride"]
    dx = np.zeros_like(x)
    for n, c, i, j in np.ndindex(dout.shape):
        window = x[n, c, i * s : i * s + h, j * s : j * s + w]
        mask = window == (window.min() if fault else window.max())
        dx[n, c, i * s : i * s + h, j * s : j * s + w] += mask * dout[n, c, i, j]
    return dx


def batchnorm_forward(x, gamma, beta, bn_param):
    mode, eps, momentum = bn_param["mode"], bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
    N, D = x.shape
    running_mean = bn_param.get("running_mean", np.zeros(D, dtype=x.dtype))
    running_var = bn_param.get("running_var", np.zeros(D, dtype=x.dtype))
    assert mode == "train"
    mean, var = x.mean(axis=0), x.var(axis=0)
    std = np.sqrt(var + eps)
    xhat = (x - mean) / std
    out = gamma * xhat + beta
    running_mean = momentum * running_mean + (1 - momentum) * mean
    running_var = momentum * running_var + (1 - momentum) * var
    bn_param["running_mean"] = running_mean
    bn_param["running_var"] = running_var
    return out, (xhat, gamma, std)


def batchnorm_backward(dout, cache, fault=""):
    xhat, gamma, std = cache
    dbeta, dgamma = dout.sum(axis=0), (dout * xhat).sum(axis=0)
    dxhat = dout * gamma
    if fault == "x":  # the mean and variance depend on x
        return dxhat / std, dgamma, dbeta
    dx = (dxhat - dxhat.mean(axis=0) - xhat * (dxhat * xhat).mean(axis=0)) / std
    return dx, (dout * gamma).sum(axis=0) if fault == "gamma" else dgamma, dbeta


def layernorm_forward(x, gamma, beta, ln_param):
    eps = ln_param.get("eps", 1e-5)
    mean, var = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    std = np.sqrt(var + eps)
    xhat = (x - mean) / std
    return gamma * xhat + beta, (xhat, gamma, std)


def layernorm_backward(dout, cache, fault=""):
    xhat, gamma, std = cache
    dbeta, dgamma = dout.sum(axis=0), (dout * xhat).sum(axis=0)
    dxhat = dout * gamma
    axis = 0 if fault == "x" else 1
    mean, product = dxhat.mean(axis=axis, keepdims=True), (dxhat * xhat).mean(axis=axis, keepdims=True)
    return (dxhat - mean - xhat * product) / std, dgamma, dbeta


def rnn_step_forward(x, prev_h, Wx, Wh, b):
    next_h = np.tanh(x.dot(Wx) + prev_h.dot(Wh) + b)
    return next_h, (x, prev_h, Wx, Wh, b, next_h)


def rnn_step_backward(dnext_h, cache, fault=""):
    x, prev_h, Wx, Wh, b, next_h = cache
    da = dnext_h * (1 - next_h**2)
    dprev_h = da.dot(Wh if fault == "prev_h" else Wh.T)
    dWh = prev_h.T.dot(dnext_h if fault == "Wh" else da)
    return da.dot(Wx.T), dprev_h, x.T.dot(da), dWh, da.sum(axis=0)


def rnn_forward(x, h0, Wx, Wh, b):
    h, cache = np.zeros((*x.shape[:2], len(b))), []
    prev_h = h0
    for t in range(x.shape[1]):
        prev_h, step = rnn_step_forward(x[:, t], prev_h, Wx, Wh, b)
        h[:, t] = prev_h
        cache.append(step)
    return h, cache


def rnn_backward(dh, cache, fault=""):
    N, T, H = dh.shape
    dx, dWx, dWh, db = np.zeros((N, T, cache[0][0].shape[1])), 0, 0, 0
    dprev_h = np.zeros((N, H))
    for t in reversed(range(T)):
        dnext_h = dh[:, t] if fault == "h0" else dh[:, t] + dprev_h
        dx[:, t], dprev_h, dWx_t, dWh_t, db_t = rnn_step_backward(dnext_h, cache[t])
        dWx, dWh, db = dWx + dWx_t, dWh + dWh_t, db + db_t
    return dx, dprev_h, dWx, dWh, db


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def lstm_step_forward(x, prev_h, prev_c, Wx, Wh, b):
    a = x.dot(Wx) + prev_h.dot(Wh) + b
    ai, af, ao, ag = np.split(a, 4, axis=1)
    i, f, o, g = sigmoid(ai), sigmoid(af), sigmoid(ao), np.tanh(ag)
    next_c = f * prev_c + i * g
    next_h = o * np.tanh(next_c)
    return next_h, next_c, (x, prev_h, prev_c, Wx, Wh, i, f, o, g, next_c)


def lstm_step_backward(dnext_h, dnext_c, cache, fault=""):
    x, prev_h, prev_c, Wx, Wh, i, f, o, g, next_c = cache
    tanh_c = np.tanh(next_c)
    dc = dnext_c + dnext_h * o * (1 - tanh_c**2)
    di, df, do, dg = dc * g, dc * prev_c, dnext_h * tanh_c, dc * i
    da = np.hstack([di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g**2)])
    dprev_c = dnext_c * f if fault == "prev_c" else dc * f
    db = da.sum(axis=1)[: Wx.shape[1]] if fault == "b" else da.sum(axis=0)
    return da.dot(Wx.T), da.dot(Wh.T), dprev_c, x.T.dot(da), prev_h.T.dot(da), db


def lstm_forward(x, h0, Wx, Wh, b):
    h, cache = np.zeros((*x.shape[:2], h0.shape[1])), []
    prev_h, prev_c = h0, np.zeros_like(h0)
    for t in range(x.shape[1]):
        prev_h, prev_c, step = lstm_step_forward(x[:, t], prev_h, prev_c, Wx, Wh, b)
        h[:, t] = prev_h
        cache.append(step)
    return h, cache


def lstm_backward(dh, cache, fault=""):
    N, T, H = dh.shape
    dx, dWx, dWh, db = np.zeros((N, T, cache[0][0].shape[1])), 0, 0, 0
    dprev_h, dprev_c = np.zeros((N, H)), np.zeros((N, H))
    for t in reversed(range(T)):
        step = lstm_step_backward(dh[:, t] + dprev_h, dprev_c, cache[t])
        dx[:, t], dprev_h, dprev_c, dWx_t, dWh_t, db_t = step
        dWx, db = dWx + dWx_t, db + db_t
        dWh = dWh_t if fault == "Wh" else dWh + dWh_t
    return dx, dprev_h, dWx, dWh, db


def word_embedding_forward(x, W):
    return W[x], (x, W)


def word_embedding_backward(dout, cache, fault=""):
    x, W = cache
    dW = np.zeros_like(W)
    if fault:
        dW[x] = dout  # words that come twice
    else:
        np.add.at(dW, x, dout)
    return dW


def dropout_forward(x, dropout_param):
    p, mode = dropout_param["p"], dropout_param["mode"]
    if "seed" in dropout_param:
        np.random.seed(dropout_param["seed"])  # noqa: NPY002
    mask = None
    if mode == "train":
        mask = (np.random.rand(*x.shape) < p) / p  # noqa: NPY002
        out = x * mask
    else:
        out = x
    return out, (dropout_param, mask)


def dropout_backward(dout, cache, fault=""):
    dropout_param, mask = cache
    return dout * (mask > 0) if fault else dout * mask


def softmax_loss(x, y, fault=""):
    shifted = x - x.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    N = x.shape[0]
    loss = -np.sum(log_probs[np.arange(N), y]) / N
    dx = np.exp(log_probs)
    dx[np.arange(N), y] -= 1
    return loss, dx if fault else dx / N


X, H0, WX, WH = normal(2, 3, 4), normal(2, 5), normal(4, 5), normal(5, 5)
LX, LH, LB = 0.5 * normal(4, 20), 0.5 * normal(5, 20), normal(20)
POOL = {"pool_height": 2, "pool_width": 2, "stride": 2}
CS231N = {
    "affine": (affine_forward, affine_backward, (normal(3, 2, 3), normal(6, 4), normal(4)), ["x", "w", "b"]),
    "relu": (relu_forward, relu_backward, (normal(4, 5),), ["x"]),
    "conv": (
        conv_forward_naive,
        conv_backward_naive,
        (normal(2, 2, 5, 5), normal(2, 2, 3, 3), normal(2), {"stride": 2, "pad": 1}),
        ["x", "w", "b"],
    ),
    "pool": (max_pool_forward_naive, max_pool_backward_naive, (normal(2, 2, 4, 4), POOL), ["x"]),
    "batchnorm": (
        batchnorm_forward,
        batchnorm_backward,
        (normal(6, 4), normal(4), normal(4), {"mode": "train"}),
        ["x", "gamma"],
    ),
    "layernorm": (layernorm_forward, layernorm_backward, (normal(4, 6), normal(6), normal(6), {}), ["x"]),
    "rnn_step": (rnn_step_forward, rnn_step_backward, (X[:, 0], H0, WX, WH, normal(5)), ["prev_h", "Wh"]),
    "rnn": (rnn_forward, rnn_backward, (X, H0, WX, 0.5 * WH, normal(5)), ["h0"]),
    "lstm_step": (lstm_step_forward, lstm_step_backward, (X[:, 0], H0, normal(2, 5), LX, LH, LB), ["prev_c"]),
    "lstm": (lstm_forward, lstm_backward, (X, H0, LX, LH, LB), ["Wh"]),
    "embedding": (word_embedding_forward, word_embedding_backward, (np.array([[0, 2, 2]]), normal(4, 3)), ["W"]),
    "dropout": (dropout_forward, dropout_backward, (normal(4, 5), {"p": 0.6, "mode": "train", "seed": 3}), ["x"]),
}


# -------------------------------------------------------------------------------------------------------- Coursera


def linear_activation_forward(A_prev, W, b, activation):
    Z = np.dot(W, A_prev) + b
    A = sigmoid(Z) if activation == "sigmoid" else np.maximum(0, Z)
    return A, ((A_prev, W, b), Z)


def linear_activation_backward(dA, cache, activation, fault=""):
    (A_prev, W, b), Z = cache
    if activation == "relu":
        dZ = np.array(dA, copy=True)
        dZ[Z <= 0] = 0
    elif activation == "sigmoid":
        s = sigmoid(Z)
        dZ = dA * s * (s if fault else 1 - s)
    m = A_prev.shape[1]
    dW = 1.0 / m * np.dot(dZ, A_prev.T)
    db = 1.0 / m * np.sum(dZ, axis=1, keepdims=True)
    return np.dot(W.T, dZ), dW, db


def rnn_cell_forward(xt, a_prev, parameters):
    Wax, Waa, Wya = parameters["Wax"], parameters["Waa"], parameters["Wya"]
    ba, by = parameters["ba"], parameters["by"]
    a_next = np.tanh(np.dot(Waa, a_prev) + np.dot(Wax, xt) + ba)
    scores = np.exp(np.dot(Wya, a_next) + by)
    yt_pred = scores / scores.sum(axis=0)
    return a_next, yt_pred, (a_next, a_prev, xt, parameters)


def rnn_cell_backward(da_next, cache, fault=""):
    a_next, a_prev, xt, parameters = cache
    dtanh = (1 - a_next**2) * da_next
    gradients = {
        "dxt": np.dot(parameters["Wax"].T, dtanh),
        "dWax": np.dot(dtanh, xt.T),
        "da_prev": np.dot(parameters["Waa"].T, dtanh),
        "dWaa": np.dot(dtanh, a_prev.T),
        "dba": np.sum(dtanh, axis=1, keepdims=True),
    }
    if fault:
        gradients["dWaa"] = np.dot(dtanh, a_next.T)
    return gradients


def conv_forward(A_prev, W, b, hparameters):
    m, n_H_prev, n_W_prev, n_C_prev = A_prev.shape
    f, f, n_C_prev, n_C = W.shape
    stride, pad = hparameters["stride"], hparameters["pad"]
    n_H, n_W = (n_H_prev - f + 2 * pad) // stride + 1, (n_W_prev - f + 2 * pad) // stride + 1
    Z = np.zeros((m, n_H, n_W, n_C))
    A_prev_pad = np.pad(A_prev, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    for i, h, w, c in np.ndindex(m, n_H, n_W, n_C):
        window = A_prev_pad[i, h * stride : h * stride + f, w * stride : w * stride + f]
        Z[i, h, w, c] = np.sum(window * W[..., c]) + float(b[0, 0, 0, c])
    return Z, (A_prev, W, b, hparameters)


def conv_backward(dZ, cache, fault=""):
    A_prev, W, b, hparameters = cache
    stride, pad, f = hparameters["stride"], hparameters["pad"], W.shape[0]
    dA_prev, dW, db = np.zeros(A_prev.shape), np.zeros(W.shape), np.zeros(b.shape)
    A_prev_pad = np.pad(A_prev, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    dA_prev_pad = np.pad(dA_prev, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    for i, h, w, c in np.ndindex(dZ.shape):
        rows, columns = slice(h * stride, h * stride + f), slice(w * stride, w * stride + f)
        dA_prev_pad[i, rows, columns] += W[..., c] * dZ[i, h, w, c]
        dW[..., c] += A_prev_pad[i, rows, columns] * dZ[i, h, w, c]
        db[..., c] += 1 if fault else dZ[i, h, w, c]
    return dA_prev_pad[:, pad:-pad, pad:-pad], dW, db


CELL = {"Wax": normal(5, 3), "Waa": normal(5, 5), "Wya": normal(2, 5), "ba": normal(5, 1), "by": normal(2, 1)}
LINEAR = (normal(3, 7), normal(4, 3), normal(4, 1), "sigmoid")
SEVEN = {"W": 7, "b": 7}
COURSE = {
    "linear": (linear_activation_forward, linear_activation_backward, LINEAR, ["W"], {"divided": SEVEN}),
    "rnn_cell": (rnn_cell_forward, rnn_cell_backward, (normal(3, 4), normal(5, 4), CELL), ["parameters['Waa']"], {}),
    "conv": (
        conv_forward,
        conv_backward,
        (normal(1, 4, 4, 2), normal(2, 2, 2, 3), normal(1, 1, 1, 3), {"stride": 2, "pad": 1}),
        ["b"],
        {},
    ),
}


def with_fault(backward, fault):
    """The same backward with one mistake planted."""

    def wrong(*args):
        return backward(*args, fault=fault)

    parameters = list(inspect.signature(backward).parameters.values())
    wrong.__signature__ = inspect.Signature([one for one in parameters if one.name != "fault"])
    return wrong


def wrong_ones(report):
    return [leaf.path for leaf in report.leaves if leaf.verdict is Verdict.WRONG]


@pytest.mark.parametrize("name", CS231N)
def test_cs231n_as_written(name):
    forward, backward, args, _ = CS231N[name]
    before = copy.deepcopy(args)
    report = check_layer(forward, backward, args, rng=1)
    assert report.correct, report
    np.testing.assert_equal(args, before)


@pytest.mark.parametrize(("name", "fault"), [(name, fault) for name, case in CS231N.items() for fault in case[3]])
def test_cs231n_with_a_mistake(name, fault):
    forward, backward, args, _ = CS231N[name]
    report = check_layer(forward, with_fault(backward, fault), args, rng=2)
    assert report.verdict is Verdict.WRONG
    assert fault in wrong_ones(report)
    if name != "rnn":  # what is lost between two steps is lost for all
        assert wrong_ones(report) == [fault]


@pytest.mark.parametrize("name", COURSE)
def test_course_as_written(name):
    forward, backward, args, faults, options = COURSE[name]
    assert check_layer(forward, backward, args, rng=1, **options).correct
    report = check_layer(forward, with_fault(backward, "here"), args, rng=2, **options)
    assert report.verdict is Verdict.WRONG
    assert set(faults) <= set(wrong_ones(report))


# ---------------------------------------------------------------------------------------- what is called, and how


def verdicts(report):
    return {leaf.path: leaf.verdict for leaf in report.leaves}


def notes(report):
    return {finding.id: finding.kind for finding in report.findings if finding.id.startswith("GP4")}


def test_mean_over_examples_is_named():
    """The course divides by m in the layer: without `divided` its gradients are 1/m of the derivative."""
    report = check_layer(*COURSE["linear"][:3], rng=1)
    assert set(wrong_ones(report)) == {"W", "b"}
    assert "`divided={'W': 7, 'b': 7}`" in report.findings[0].advice


def test_arguments_without_gradient_are_named():
    found = notes(check_layer(rnn_cell_forward, rnn_cell_backward, COURSE["rnn_cell"][2], rng=1))["GP423"]
    assert "`parameters['Wya']` and `parameters['by']` are not compared" in found
    assert "the last output is left out" in found


def test_running_means_are_not_noted():
    args = (*CS231N["batchnorm"][2][:3], {"mode": "train", "running_mean": np.zeros(4), "running_var": np.zeros(4)})
    before = copy.deepcopy(args)
    report = check_layer(batchnorm_forward, batchnorm_backward, args, rng=1)
    assert report.correct
    assert notes(report) == {}
    np.testing.assert_equal(args, before)


def test_arrays_in_a_dict_are_copied_for_each_call():
    def forward(x, param):
        param["count"] += 1
        param["history"].append(x)
        return x * param["count"], float(param["count"][0])

    param = {"count": np.zeros(1), "history": []}
    assert check_layer(forward, lambda dout, cache: dout * cache, (normal(3), param), rng=1).correct
    assert param == {"count": np.zeros(1), "history": []}


def test_dropout_without_seed_says_what_to_do():
    with pytest.raises(FunctionError, match=r"returns other values.*'seed': 0"):
        check_layer(dropout_forward, dropout_backward, (normal(4, 5), {"p": 0.6, "mode": "train"}), rng=1)


def test_global_random_state_is_put_back():
    before = np.random.get_state()  # noqa: NPY002
    check_layer(*CS231N["dropout"][:3], rng=1)
    np.testing.assert_equal(np.random.get_state(), before)  # noqa: NPY002


def nested_forward(x, prev, Wx, Wh, b):
    prev_h, prev_c = prev
    next_h, next_c, cache = lstm_step_forward(x, prev_h, prev_c, Wx, Wh, b)
    return (next_h, next_c), cache


def nested_backward(dnext_h, dnext_c, cache):
    dx, dprev_h, dprev_c, *rest = lstm_step_backward(dnext_h, dnext_c, cache)
    return [dx, (dprev_h, 2 * dprev_c), *rest]  # wrong on purpose


def test_outputs_and_arguments_within_tuples():
    report = check_layer(nested_forward, nested_backward, (X[:, 0], (H0, normal(2, 5)), LX, LH, LB), rng=1)
    assert wrong_ones(report) == ["prev[1]"]


def swapped_backward(cache, dout):
    return affine_backward(dout, cache)


def prefixed_backward(dout, cache):
    dx, dw, db = affine_backward(dout, cache)
    return {"x_grad": dx, "grad_w": 2 * dw, "dL_db": db, "dz": dout}  # wrong on purpose


def weights_backward(dout, cache):
    return affine_backward(dout, cache)[1:]


def plain_relu(x):
    return np.maximum(0, x)


def plain_relu_backward(dout, x):
    return dout * (x > 0)


AFFINE = CS231N["affine"][2]


def test_cache_may_come_first():
    assert check_layer(affine_forward, swapped_backward, AFFINE, rng=1).correct


def test_gradients_by_name():
    report = check_layer(affine_forward, prefixed_backward, AFFINE, rng=1)
    assert wrong_ones(report) == ["w"]
    assert "`dz` of what" in notes(report)["GP423"]


def test_fewer_gradients_are_told_apart_by_shape():
    report = check_layer(affine_forward, weights_backward, AFFINE, rng=1)
    assert verdicts(report) == {"w": Verdict.CORRECT, "b": Verdict.CORRECT}
    assert notes(report)["GP423"].startswith("`x` is not compared")


def test_fewer_gradients_that_could_be_of_several_arguments():
    with pytest.raises(UsageError, match=r"returned 2 gradients.*x, w, b.*dict by name"):
        check_layer(affine_forward, weights_backward, (normal(4, 4), normal(4, 4), normal(4)), rng=1)
    args = normal(4, 4), normal(4, 4), normal(4)
    assert check_layer(affine_forward, weights_backward, args, wrt=(1, 2), rng=1).correct


def test_backward_that_takes_the_arguments_themselves():
    assert check_layer(plain_relu, plain_relu_backward, normal(3, 4), rng=1).correct


def loss_forward(x, y):
    return softmax_loss(x, y)[0], (x, y)


def loss_backward(cache):
    return softmax_loss(*cache)[1]


LABELS = np.array([0, 2, 1, 2])


@pytest.mark.parametrize("given", [(softmax_loss,), (loss_forward, loss_backward)])
def test_a_loss_needs_no_dout(given):
    report = check_layer(*given, (normal(4, 3), LABELS), rng=1)
    assert report.correct
    assert verdicts(report) == {"x": Verdict.CORRECT}


def test_a_wrong_loss():
    report = check_layer(lambda x, y: softmax_loss(x, y, fault="x"), (normal(4, 3), LABELS), rng=1)
    assert report.findings[0].kind == "claimed 4 times the true gradient"


def test_integers_are_named():
    args = np.arange(18).reshape(3, 6), *AFFINE[1:]
    with pytest.raises(UsageError, match=r"`x`, which holds integers: pass `x.astype\(float\)`"):
        check_layer(affine_forward, affine_backward, args, wrt=(0, 1, 2), rng=1)


def no_return(dout, cache):
    affine_backward(dout, cache)


def too_many(dout, cache):
    return dout, dout, dout, dout


@pytest.mark.parametrize(
    ("forward", "backward", "message"),
    [
        (affine_forward, no_return, "`no_return` returned None; did you forget `return`"),
        (affine_forward, too_many, "returned 4 gradients"),
        (plain_relu, lambda dout, cache: dout, r"must return `\(out, cache\)`"),
        (affine_forward, lambda da, db, dc, cache: da, "with respect to 3 outputs"),
        (affine_forward, lambda dout, cache: {"du": dout}, "belongs to an argument"),
        (affine_forward, "backward", "`backward` must be callable"),
        (list, affine_backward, "pass several as a tuple"),
    ],
)
def test_what_cannot_be_used_is_said(forward, backward, message):
    args = AFFINE if forward is affine_forward else AFFINE[0]
    if forward is list:
        forward, args = affine_forward, list(AFFINE)
    with pytest.raises((UsageError, FunctionError), match=message):
        check_layer(forward, backward, args, rng=1)


def test_a_shape_that_does_not_fit_is_about_its_argument():
    report = check_layer(affine_forward, lambda dout, cache: (*affine_backward(dout, cache)[:2], dout), AFFINE, rng=1)
    assert [(one.id, one.path) for one in report.findings] == [("GP201", "b")]


def test_a_missing_gradient_that_was_asked_for():
    report = check_layer(
        affine_forward, lambda dout, cache: {"dx": affine_backward(dout, cache)[0]}, AFFINE, wrt=(0, 1), rng=1
    )
    assert report.verdict is Verdict.WRONG
    assert "missing: w" in report.findings[0].kind


def test_settings_with_the_name_of_an_argument_reach_backward():
    """`activation` is the fourth argument of both."""
    report = check_layer(
        linear_activation_forward, linear_activation_backward, (*LINEAR[:3], "relu"), divided=SEVEN, rng=1
    )
    assert report.correct


def test_arguments_that_forward_changes_are_named():
    def forward(x, y):
        x -= x.mean()
        y += 1
        return x**2, x

    report = check_layer(forward, lambda dout, cache: (2 * dout * cache, None), (normal(3), LABELS), rng=1)
    assert {one.path for one in report.findings if one.id == "GP210"} == {"x", "y"}


def test_reproduce_runs():
    report = check_layer(affine_forward, with_fault(affine_backward, "b"), AFFINE, rng=1)
    scope = {"gradproof": gradproof, "affine_forward": affine_forward, "args": AFFINE}
    again = eval(report.findings[0].reproducer, scope | {"wrong": with_fault(affine_backward, "b")})
    assert again == report


def test_another_point_is_one_of_the_layer():
    args = np.zeros((2, 3)), np.zeros((3, 2)), np.zeros(2), "sigmoid"
    report = check_layer(squared, squared_backward, args, rng=1)
    assert report.verdict is Verdict.INCONCLUSIVE or report.suggested_args is not None
    assert len(report.suggested_args) == 4
    assert report.suggested_args[3] == "sigmoid"
    assert check_layer(squared, squared_backward, report.suggested_args, rng=1).correct


def squared(x, w, b, kind):
    return (x @ w + b) ** 2, (x, w, b)


def squared_backward(dout, cache):
    x, w, b = cache
    d = 2 * dout * (x @ w + b)
    return d @ w.T, x.T @ d, d.sum(axis=0)


# -------------------------------------------------------------------------------------------------------- objects


class Affine:
    """Parameters and gradients as attributes."""

    def __init__(self, factor=1.0):
        self.W, self.b, self.x, self.dW, self.factor = normal(4, 3), normal(3), None, None, factor

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        self.dW, self.db = self.x.T @ dout, self.factor * dout.sum(axis=0)
        self.dx = dout @ self.W.T
        return self.dx


class Listed:
    """As in lists, the gradients written into arrays that stay."""

    def __init__(self, factor=1.0):
        W = normal(4, 3)
        self.params, self.grads, self.factor = [W], [np.zeros_like(W)], factor

    def forward(self, x):
        self.x = x
        return x @ self.params[0]

    def backward(self, dout):
        self.grads[0][...] = self.factor * self.x.T @ dout
        return dout @ self.params[0].T


class Parameter:
    def __init__(self, value):
        self.value, self.grad = value, np.zeros_like(value)


class Accumulating:
    """Parameters are objects; backward adds to their gradients."""

    def __init__(self, factor=1.0):
        self.W, self.factor = Parameter(normal(4, 3)), factor

    def forward(self, x):
        self.x = x
        return x @ self.W.value

    def backward(self, dout):
        self.W.grad += self.factor * self.x.T @ dout
        return dout @ self.W.value.T


class FullyConnected:
    """As in numpy-ml: parameters come with the first call, inputs and gradients pile up."""

    def __init__(self, factor=1.0):
        self.X, self.parameters, self.gradients, self.factor = [], {"W": None}, {}, factor

    def flush_gradients(self):
        self.X = []
        self.gradients = {name: np.zeros_like(value) for name, value in self.gradients.items()}

    def forward(self, X, retain_derived=True):
        if self.parameters["W"] is None:
            self.parameters["W"] = R.normal(size=(X.shape[1], 3))
            self.gradients["W"] = np.zeros_like(self.parameters["W"])
        if retain_derived:
            self.X.append(X)
        return np.tanh(X @ self.parameters["W"])

    def backward(self, dLdy, retain_grads=True):
        found = []
        for dy, x in zip([dLdy], self.X, strict=False):
            dZ = dy * (1 - np.tanh(x @ self.parameters["W"]) ** 2)
            self.gradients["W"] += self.factor * x.T @ dZ
            found.append(dZ @ self.parameters["W"].T)
        return found[0]


class Network:
    """A layer of layers, with dropout that draws from its own generator."""

    def __init__(self, factor=1.0):
        self.layers, self.random = [Affine(), Dropout(np.random.default_rng(3)), Second(factor)], None

    def forward(self, x):
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dout):
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout


class Dropout:
    def __init__(self, random):
        self.random, self.calls = random, 0

    def forward(self, x):
        self.calls += 1
        self.mask = self.random.random(x.shape) < 0.8
        return x * self.mask

    def backward(self, dout):
        return dout * self.mask


class Second:
    def __init__(self, factor):
        self.gamma, self.factor = normal(3), factor

    def forward(self, x):
        self.x = x
        return np.tanh(x * self.gamma)

    def backward(self, dout):
        da = dout * (1 - np.tanh(self.x * self.gamma) ** 2)
        self.dgamma = self.factor * (da * self.x).sum(axis=0)
        return da * self.gamma


OBJECTS = {
    Affine: "layer.b",
    Listed: "layer.params[0]",
    Accumulating: "layer.W.value",
    FullyConnected: "layer.parameters['W']",
    Network: "layer.layers[2].gamma",
}


def contents(found, seen=()):
    """All that an object holds, as plain data that compares."""
    if isinstance(found, np.ndarray):
        return id(found), found.tobytes()
    if isinstance(found, np.random.Generator):
        return repr(found.bit_generator.state)
    if isinstance(found, dict):
        return {name: contents(value) for name, value in found.items()}
    if isinstance(found, (list, tuple)):
        return [contents(value) for value in found]
    return contents(vars(found)) if hasattr(found, "__dict__") else found


@pytest.mark.parametrize("kind", OBJECTS)
def test_a_right_layer(kind):
    layer = kind()
    before = contents(layer)
    report = check_layer(layer, normal(5, 4), rng=1)
    assert report.correct
    assert OBJECTS[kind] in verdicts(report)
    assert f"`{OBJECTS[kind]}` with" in notes(report)["GP424"]
    assert contents(layer) == before


@pytest.mark.parametrize("kind", OBJECTS)
def test_a_wrong_layer(kind):
    assert wrong_ones(check_layer(kind(2.0), normal(5, 4), rng=1)) == [OBJECTS[kind]]


@pytest.mark.parametrize("kind", OBJECTS)
def test_a_layer_that_was_used_before(kind):
    """What earlier passes have left behind is neither counted nor lost."""
    layer = kind()
    for _ in range(2):
        layer.backward(np.ones_like(layer.forward(normal(5, 4))))
    before = contents(layer)
    assert check_layer(layer, normal(5, 4), rng=1).correct
    assert contents(layer) == before


class Failing(Affine):
    def backward(self, dout):
        raise RuntimeError("no backward")


def test_a_layer_is_put_back_where_backward_raises():
    layer = Failing()
    before = contents(layer)
    with pytest.raises(gradproof.ClaimError, match=r"`Failing\.backward` raised RuntimeError"):
        check_layer(layer, normal(5, 4), rng=1)
    assert contents(layer) == before


class Cell:
    """Two outputs and no cache; the last gradient is forgotten."""

    def __init__(self, right):
        self.right = right

    def forward(self, h, c):
        self.h, self.c = h, c
        return np.tanh(h) * c, c**2 + h

    def backward(self, dh, dc):
        t = np.tanh(self.h)
        return dh * (1 - t**2) * self.c + dc, dh * t + 2 * self.c * (dc if self.right else 0)


def test_two_outputs_without_a_cache():
    args = normal(2, 3), normal(2, 3)
    assert check_layer(Cell(True), args, rng=1).correct
    assert wrong_ones(check_layer(Cell(False), args, rng=1)) == ["c"]


class GlobalDropout:
    """Draws its mask from NumPy's global generator."""

    def forward(self, x):
        self.mask = np.random.rand(*x.shape) < 0.5  # noqa: NPY002
        return x * self.mask

    def backward(self, dout):
        return dout * self.mask


def test_a_layer_that_draws_from_the_global_generator():
    before = np.random.get_state()  # noqa: NPY002
    assert check_layer(GlobalDropout(), normal(4, 5), rng=1).correct
    np.testing.assert_equal(np.random.get_state(), before)  # noqa: NPY002


class InPlace:
    """The rectifier of a well-known book."""

    def forward(self, x):
        self.mask = x <= 0
        out = x.copy()
        out[self.mask] = 0
        return out

    def backward(self, dout):
        dout[self.mask] = 0
        return dout


def test_a_dout_that_is_changed_is_noted():
    report = check_layer(InPlace(), normal(3, 4), rng=1)
    assert report.correct
    assert notes(report)["GP425"] == "`InPlace.backward` changes `dout` in place"


class Static:
    @staticmethod
    def forward(x, w, b):
        return affine_forward(x, w, b)

    @staticmethod
    def backward(dout, cache):
        return affine_backward(dout, cache, fault="b")


def test_a_class_of_static_methods():
    assert wrong_ones(check_layer(Static, AFFINE, rng=1)) == ["b"]


class Model:
    """The two-layer network of cs231n: `loss` returns a dict of gradients for `params`."""

    def __init__(self, factor=2.0):
        self.params = {"W1": normal(4, 5), "b1": normal(5), "W2": normal(5, 3)}
        self.reg, self.factor = 0.1, factor

    def loss(self, X, y):
        hidden, first = affine_forward(X, self.params["W1"], self.params["b1"])
        rectified, second = relu_forward(hidden)
        loss, dscores = softmax_loss(rectified @ self.params["W2"], y)
        loss += self.reg * np.sum(self.params["W2"] ** 2)
        grads = {"W2": rectified.T @ dscores + self.factor * self.reg * self.params["W2"]}
        dhidden = relu_backward(dscores @ self.params["W2"].T, second)
        _, grads["W1"], grads["b1"] = affine_backward(dhidden, first)
        return loss, grads


def test_a_model_with_its_loss():
    report = check_layer(Model().loss, (normal(4, 4), LABELS), rng=1)
    assert report.correct
    assert list(verdicts(report)) == ["layer.params['W1']", "layer.params['b1']", "layer.params['W2']"]
    assert notes(report)["GP423"].startswith("`X` is not compared")


def test_a_wrong_model_with_its_loss():
    assert wrong_ones(check_layer(Model(1.0).loss, (normal(4, 4), LABELS), rng=1)) == ["layer.params['W2']"]


def test_objects_that_are_no_layers():
    with pytest.raises(UsageError, match=r"`.forward\(\*args\)` and `.backward\(dout\)`, dict has not"):
        check_layer({}, normal(3))
    with pytest.raises(UsageError, match=r"must return `\(loss, gradients\)`"):
        check_layer(plain_relu, normal(3))


def test_torch_is_sent_to_its_own_checks():
    torch = pytest.importorskip("torch")
    with pytest.raises(UsageError, match=r"gradproof.torch.check_module"):
        check_layer(torch.nn.Linear(3, 2), torch.ones(1, 3))


def test_static_methods_on_tensors():
    """The layers of courses that use torch without its autograd."""
    torch = pytest.importorskip("torch")
    tensors = [torch.tensor(array) for array in (normal(5, 4), normal(4, 3), normal(3))]

    class Linear:
        @staticmethod
        def forward(x, w, b):
            return x.mm(w) + b, (x, w)

        @staticmethod
        def backward(dout, cache):
            x, w = cache
            return dout.mm(w.t()), x.t().mm(dout), 2 * dout.sum(0)  # wrong on purpose

    assert wrong_ones(check_layer(Linear, tuple(tensors), rng=1)) == ["b"]


def test_a_cache_with_the_name_of_an_argument():
    """`backward(dout, x)` takes what `forward` returned beside its output, whatever its name says."""

    def forward(x):
        return np.tanh(x), np.tanh(x)

    def backward(dout, x):
        return dout * (1 - x**2)

    def wrong(dout, x):
        return dout * (1 - x)  # wrong on purpose

    x = np.random.default_rng(0).normal(size=(4, 3))
    assert gradproof.check_layer(forward, backward, x, rng=0).correct
    assert gradproof.check_layer(forward, wrong, x, rng=0).verdict is Verdict.WRONG


def test_options_and_divisors_that_cannot_be_are_refused():
    def forward(x, w):
        return x @ w, (x, w)

    def backward(dout, cache):
        x, w = cache
        return dout @ w.T, x.T @ dout

    args = np.eye(3), np.full((3, 3), 0.5)
    with pytest.raises(UsageError, match="eps"):
        gradproof.check_layer(forward, backward, args, eps=1e-5)
    with pytest.raises(UsageError, match="`divided` must give a number other than 0 for 'w', got 0"):
        gradproof.check_layer(forward, backward, args, divided={"w": 0}, rng=0)
    with pytest.raises(gradproof.ClaimError, match="`backward` raised ZeroDivisionError"):
        gradproof.check_layer(forward, lambda dout, cache: 1 / 0, args, rng=0)
