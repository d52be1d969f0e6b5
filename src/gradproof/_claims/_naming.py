"""The conventions for derivatives by complex numbers: what each is called, and how to get from it to ours."""

from __future__ import annotations

import dataclasses

from gradproof._function._layout import Layout


@dataclasses.dataclass(frozen=True, kw_only=True)
class Convention:
    """How the claim differs from the truth: ``true = factor * claimed``, conjugated or not, on either side.

    Attributes
    ----------
    factor : complex
        On the derivative by a complex array; that by a real one is as claimed.
    conjugated : bool
        Whether the true derivative by a complex array is the conjugate of the claimed one.
    cotangent : bool
        Whether complex outputs, or cotangents, are to be conjugated.
    """

    factor: complex = 1.0
    conjugated: bool = False
    cotangent: bool = False


def words(convention: Convention, keyword: str, outputs: Layout | None) -> tuple[str, str]:
    """What a convention is called, and how to get from it to ours."""
    of_complex = outputs is not None and outputs.is_complex
    noun = {"grad": "gradient", "jac": "Jacobian"}.get(keyword, keyword)
    ours = "here the gradient with respect to z = x + iy is df/dx + i df/dy, as in PyTorch"
    if of_complex and keyword != "hvp":
        return _words_of_complex(convention, keyword, noun)
    if convention == Convention(factor=2.0):
        return f"is the Wirtinger derivative df/d conj(z), half of the true {noun}", f"Multiply it by 2: {ours}."
    if convention == Convention(factor=2.0, conjugated=True):
        return (
            f"is the Wirtinger derivative df/dz, half of the conjugate of the true {noun}",
            f"Return `2 * np.conj(...)` of it: {ours}.",
        )
    if convention == Convention(factor=-1j):
        return f"claimed i times the true {noun}", "Multiply it by -1j: real and imaginary part have changed places."
    if convention == Convention(factor=1j):
        return f"claimed -i times the true {noun}", "Multiply it by 1j: real and imaginary part have changed places."
    if convention == Convention(cotangent=True):
        return "takes the conjugate of its vector", "Do not conjugate the vector that is handed in."
    if convention == Convention(conjugated=True, cotangent=True):
        return "takes the conjugate of its vector, and returns a conjugate", "Conjugate neither of them."
    return (
        f"follows the convention of jax.grad: the conjugate of the true {noun}",
        f"Return `np.conj(...)` of it: {ours}; in JAX it is df/dx - i df/dy.",
    )


def _words_of_complex(convention: Convention, keyword: str, noun: str) -> tuple[str, str]:
    """The same where f returns complex numbers."""
    if keyword == "vjp":
        if convention.conjugated and convention.cotangent:
            return (
                "follows the convention of jax.vjp: nothing is conjugated",
                "Return `np.conj(vjp(np.conj(cotangent), ...))`, or use the conjugate transpose of the Jacobian, not "
                "the transpose: here, as in PyTorch, the result is the gradient of Re(conj(cotangent) * f).",
            )
        if convention.conjugated:
            return "is the conjugate of the true vjp", "Return `np.conj(...)` of it."
        return (
            "takes the conjugate of its cotangent, as jax.vjp does",
            "Conjugate it: here, as in PyTorch, the result is the gradient of Re(conj(cotangent) * f).",
        )
    if keyword == "jvp":
        if convention.conjugated and convention.cotangent:
            return (
                "multiplies with the conjugate of the Jacobian",
                "The derivative along v is J v: conjugate neither J nor the result.",
            )
        if convention.conjugated:
            return "is the derivative along the conjugate of the tangent", "Do not conjugate the tangent."
        return "is the conjugate of the true jvp", "The derivative along v is that of f, not of its conjugate."
    return f"is the conjugate of the true {noun}", "Return `np.conj(...)` of it: df = J dz."
