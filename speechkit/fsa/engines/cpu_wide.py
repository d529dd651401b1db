"""Numbers of the CPU kernels: float32 mantissas with int32 exponents, one at a time or in lanes of SIMD registers.

Probabilities of paths leave the range of any float: the one state that survives may be e^-5000 times as likely as the
best one of its frame. Logarithms have that range, but a float32 logarithm of -5000 is only good to 2e-4, and each sum
costs two transcendental functions. So a number here is m * 2^e, with m in [1, 2) (or 0) and its own e: it keeps 24 bits
wherever it lies, and sums and products are a few shifts, additions and multiplications. Nothing underflows within
e^+-3e8 of the frame's best, hence no case needs another method.
"""

import math
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from speechkit.common.kernels import Function, compiler

# Exponent of the number 0: far below all others, and three of them still add up within 32 bits.
ZERO = np.int32(-(1 << 29))
# Log-probabilities and scores from here down count as -inf: their exponents would not add up within 32 bits.
LEAST_LOG = np.float32(-1e8)
LOG2_E = np.float64(1 / math.log(2))
LN_2 = np.float64(math.log(2))
_f32, _f64, _i32 = np.float32, np.float64, np.int32


# A multiplication and an addition may become one operation, and sums may be taken in any order; infinities and NaN keep
# their meaning. Kernels allocate nothing and count no references, so that arrays can be cut up in inner loops.
_OPTIONS: dict[str, Any] = {"fastmath": {"contract", "reassoc"}, "_nrt": False}
# What Python calls.
kernel = compiler(Path(__file__).parent.glob("cpu*.py"), **_OPTIONS)


def part(function: Function) -> Function:
    """Compile what only kernels call."""
    wrappers = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    compiled: Function = numba.njit(nogil=True, error_model="numpy", **wrappers, **_OPTIONS)(function)
    return compiled


@part
def larger(a: Any, b: Any) -> Any:
    """The larger one, in the type of the two (numba's `max` of int32 is int64, which halves the lanes)."""
    return a if a > b else b


@part
def power(exponent: Any) -> Any:
    """2^exponent as float32 for an int32 up to 127; 0 from -127 down."""
    return _i32(_i32(larger(exponent, _i32(-127)) + _i32(127)) << _i32(23)).view(_f32)


@part
def logs_to_wide(logs: Any, mantissa: Any, exponent: Any) -> Any:
    """Write e^logs as mantissas in (0.7, 1.5) and exponents, flat arrays; True if a value is NaN or +inf.

    Relative error at most 2e-7: the argument is reduced in float64, the polynomial is Taylor's of degree 7.
    """
    unfit = _i32(0)
    for i in range(len(logs)):
        value = logs[i]
        strange = not (value < -LEAST_LOG)
        dead = strange | (not (value > LEAST_LOG))
        unfit = _i32(unfit | (_i32(1) if strange else _i32(0)))
        value = _f32(0) if dead else value
        wide = _f64(value)
        count = np.floor(wide * LOG2_E + 0.5)
        rest = _f32(wide - count * LN_2)
        p = rest * _f32(1 / 5040) + _f32(1 / 720)
        p = p * rest + _f32(1 / 120)
        p = p * rest + _f32(1 / 24)
        p = p * rest + _f32(1 / 6)
        p = p * rest + _f32(0.5)
        p = p * rest + _f32(1)
        p = p * rest + _f32(1)
        mantissa[i] = _f32(0) if dead else p
        exponent[i] = ZERO if dead else _i32(count)
    return unfit != 0


def inlined(function: Function) -> Function:
    """Make a function part of its callers: for what is called for every frame, where handing over arrays takes long."""
    compiled: Function = numba.njit(inline="always", nogil=True, error_model="numpy", **_OPTIONS)(function)
    return compiled


@inlined
def gather(frame: Any, column: Any, logs: Any) -> Any:
    """Log-probabilities of some columns of a frame; False if one is NaN or +inf."""
    for i in range(len(column)):
        # An index without sign spares a look at whether it counts from the end.
        logs[i] = frame[np.uint32(column[i])]
    unfit = _i32(0)
    for i in range(len(column)):
        unfit = _i32(unfit | (_i32(0) if logs[i] < np.inf else _i32(1)))
    return unfit == 0


@intrinsic
def _prefetch(typingctx: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of an element of a flat array, which will be read soon."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.gep(context.make_array(array)(context, builder, args[0]).data, [args[1]])
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, *[ir.IntType(32)] * 3])
        ask = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        builder.call(ask, [builder.bitcast(place, pointer), *map(ir.IntType(32), (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


@inlined
def fetch_ahead(log_probs: Any, t: Any, column: Any) -> Any:
    """Bring what `gather` will read two frames later into the cache: it jumps about too much to be foreseen."""
    if t + 2 < len(log_probs):
        frame = log_probs[t + 2]
        if len(frame) <= 16 * len(column):
            for i in range(0, len(frame), 16):
                _prefetch(frame, i)
        else:
            for i in range(len(column)):
                _prefetch(frame, column[i])


@part
def log_of(mantissa: Any, exponent: Any) -> Any:
    """Natural logarithm of one number, float64."""
    if mantissa == 0:
        return -np.inf
    return math.log(_f64(mantissa)) + _f64(exponent) * LN_2


@part
def log_add(a: Any, b: Any) -> Any:
    """log(e^a + e^b) in float64."""
    high, low = (a, b) if a > b else (b, a)
    return high if low == -np.inf else high + math.log1p(math.exp(low - high))
