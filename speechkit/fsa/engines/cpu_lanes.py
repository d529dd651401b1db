"""Eight numbers side by side in a SIMD register, as a type that numba's compiled code knows.

Kernels that run many utterances through one graph keep one utterance in each lane. What they do with an arc takes only
a few instructions, which neither LLVM's loop vectoriser (sums that stay in registers across an outer loop) nor numba
(no vector types) arrives at by itself. The operations here take lanes and single numbers alike, so a kernel is written
once: an array of shape `(rows,)` holds single numbers, one of shape `(rows, 8)` holds lanes, and a single number meets
lanes as if it stood in each of them.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

from speechkit.fsa.engines.cpu_wide import ZERO

LANES = 8
_INT, _FLOAT, _BITS = ir.IntType(32), ir.FloatType(), ir.IntType(LANES)
_CONTRACT = ("contract",)


class Lanes(types.Type):
    """A SIMD register of `LANES` float32 or int32 values."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"lanes({dtype})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        element = _INT if lanes.dtype == types.int32 else _FLOAT
        super().__init__(manager, lanes, ir.VectorType(element, LANES))


_OF_LANES = {dtype: Lanes(dtype) for dtype in (types.float32, types.int32)}


def _row_type(array: Any) -> Any:
    return array.dtype if array.ndim == 1 else _OF_LANES[array.dtype]


def _address(context: Any, builder: Any, array_type: Any, array: Any, row: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    if array_type.ndim == 1:
        return builder.gep(data, [row])
    element = builder.gep(data, [builder.mul(row, ir.Constant(row.type, LANES))])
    return builder.bitcast(element, context.get_value_type(_row_type(array_type)).as_pointer())


def _spread(builder: Any, value: Any, like: Any) -> Any:
    """A single number in every lane of type `like`."""
    if not isinstance(like, ir.VectorType) or isinstance(value.type, ir.VectorType):
        return value
    if isinstance(value, ir.Constant):
        return ir.Constant(like, [value] * LANES)
    nothing, first = ir.Constant(like, ir.Undefined), ir.Constant(_INT, 0)
    one = builder.insert_element(nothing, value, first)
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(_INT, LANES), [0] * LANES))


def _constant(value: Any, like: Any) -> Any:
    single = ir.Constant(like.element if isinstance(like, ir.VectorType) else like, value)
    return ir.Constant(like, [single] * LANES) if isinstance(like, ir.VectorType) else single


def _as(builder: Any, value: Any, element: Any) -> Any:
    """The same bits as another element type."""
    return builder.bitcast(value, ir.VectorType(element, LANES) if isinstance(value.type, ir.VectorType) else element)


@intrinsic
def load(typingctx: Any, array: Any, row: Any) -> Any:
    """Row of a contiguous float32 or int32 array: a number, or lanes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_address(context, builder, array, *args), align=4)

    return _row_type(array)(array, types.intp), codegen


@intrinsic
def store(typingctx: Any, array: Any, row: Any, value: Any) -> Any:
    """Write a row."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _address(context, builder, array, *args[:2])
        builder.store(_spread(builder, args[2], context.get_value_type(_row_type(array))), place, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, value if isinstance(value, Lanes) else array.dtype), codegen


@intrinsic
def everywhere(typingctx: Any, array: Any, value: Any) -> Any:
    """A value in all lanes, or the value itself, by what the rows of `array` hold."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _spread(builder, args[1], context.get_value_type(signature.return_type))

    return _row_type(array)(array, array.dtype), codegen


def _operation(emit: Callable[..., Any], result: Any, *kinds: Any) -> Any:
    """A function of lanes or numbers of element types `kinds`; what is single is spread where another has lanes."""

    def typed(*args: Any) -> Any:
        wide = any(isinstance(arg, Lanes) for arg in args)
        given = [arg if isinstance(arg, Lanes) else kind for arg, kind in zip(args, kinds, strict=True)]
        found = _OF_LANES[result] if wide and result in _OF_LANES else result

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            like = [context.get_value_type(_OF_LANES[kind] if wide else kind) for kind in kinds]
            return emit(builder, *(_spread(builder, arg, each) for arg, each in zip(args, like, strict=True)))

        return found(*given), codegen

    if len(kinds) == 2:
        return intrinsic(lambda typingctx, a, b: typed(a, b))
    return intrinsic(lambda typingctx, a, b, c: typed(a, b, c))


def _emit_most(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.icmp_signed(">", a, b), a, b)


def _emit_scaled(builder: Any, mantissa: Any, shift: Any) -> Any:
    shift = _emit_most(builder, shift, _constant(-127, shift.type))
    bits = builder.shl(builder.add(shift, _constant(127, shift.type)), _constant(23, shift.type))
    return builder.fmul(mantissa, _as(builder, bits, _FLOAT), flags=_CONTRACT)


def _emit_cut(builder: Any, shift: Any, least: Any) -> Any:
    return builder.select(builder.icmp_signed("<", shift, least), _constant(-127, shift.type), shift)


def _emit_add_product(builder: Any, total: Any, a: Any, b: Any) -> Any:
    return builder.fadd(total, builder.fmul(a, b, flags=_CONTRACT), flags=_CONTRACT)


def _emit_exponent(builder: Any, mantissa: Any, exponent: Any) -> Any:
    bits = _as(builder, mantissa, _INT)
    zero = _constant(int(ZERO), bits.type)
    shift = builder.sub(builder.ashr(bits, _constant(23, bits.type)), _constant(127, bits.type))
    found = _emit_most(builder, builder.add(exponent, shift), zero)
    return builder.select(builder.icmp_signed("==", bits, _constant(0, bits.type)), zero, found)


def _emit_mantissa(builder: Any, mantissa: Any, exponent: Any) -> Any:
    bits = _as(builder, mantissa, _INT)
    fraction = builder.and_(bits, _constant(0x7FFFFF, bits.type))
    found = _as(builder, builder.or_(fraction, _constant(0x3F800000, bits.type)), _FLOAT)
    dead = builder.icmp_signed("==", exponent, _constant(int(ZERO), exponent.type))
    return builder.select(dead, _constant(0.0, found.type), found)


def _emit_any_below(builder: Any, value: Any, limit: Any) -> Any:
    below = builder.fcmp_ordered("<", value, limit)
    if not isinstance(value.type, ir.VectorType):
        return below
    return builder.icmp_unsigned("!=", builder.bitcast(below, _BITS), ir.Constant(_BITS, 0))


_f32, _i32 = types.float32, types.int32
# a + b and a - b of exponents, the larger one, a * b of mantissas, total + a * b, mantissa * 2^shift for a shift <= 0.
plus = _operation(lambda builder, a, b: builder.add(a, b), _i32, _i32, _i32)
minus = _operation(lambda builder, a, b: builder.sub(a, b), _i32, _i32, _i32)
most = _operation(_emit_most, _i32, _i32, _i32)
times = _operation(lambda builder, a, b: builder.fmul(a, b, flags=_CONTRACT), _f32, _f32, _f32)
add_product = _operation(_emit_add_product, _f32, _f32, _f32, _f32)
scaled = _operation(_emit_scaled, _f32, _f32, _i32)
# A shift, or where it is below a limit one that makes any mantissa 0.
cut = _operation(_emit_cut, _i32, _i32, _i32)
# A number whose mantissa is any positive float or 0 in normal form: its exponent first, then with it its mantissa.
exponent_of = _operation(_emit_exponent, _i32, _f32, _i32)
mantissa_of = _operation(_emit_mantissa, _f32, _f32, _i32)
# Whether a value in any lane is below a limit.
any_below = _operation(_emit_any_below, types.boolean, _f32, _f32)
