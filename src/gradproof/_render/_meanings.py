"""What each kind of finding means, in a sentence or two: docs/reference/findings.md says more."""

MEANINGS = {
    "GP101": (
        "The claimed derivative differs from the measured one by more than the error bar and the tolerance "
        "together. The difference was measured twice, on different steps."
    ),
    "GP103": (
        "f has a kink at this point, so it has two one-sided slopes. The claim lies outside both: no "
        "subgradient has this value."
    ),
    "GP110": (
        "f has a kink at this point, as relu has at 0. The claim lies between the one-sided slopes, so it is "
        "a valid subgradient."
    ),
    "GP120": (
        "This is the innermost part (module, Function, custom rule or operator) whose own derivative is "
        "wrong. It was measured alone, with the inputs that it really received."
    ),
    "GP121": "PyTorch gives no gradient (None) for a tensor that f depends on. An optimizer would never change it.",
    "GP122": (
        "The gradients of these arrays pass through the part that is wrong. They are wrong for that reason "
        "alone, as far as is known."
    ),
    "GP130": (
        "The kernel computes a different function than the reference: its values are further from the reference in "
        "float64 than rounding explains. A right gradient of the wrong function is no use."
    ),
    "GP131": (
        "The gradient from the kernel's backward pass is further from the reference's in float64 than rounding "
        "explains, in the place that the finding names."
    ),
    "GP132": (
        "The kernel's error looks like rounding, because it changes from draw to draw, but it is larger than rounding "
        "in the kernel's precision explains. The usual reason is a sum that is accumulated in 16 bits."
    ),
    "GP133": "The kernel returned nan or infinity where the reference has a finite value in every precision.",
    "GP140": "The kernel raises an exception at some sizes or layouts.",
    "GP141": (
        "The kernel returns other values than the reference. Its gradient may be right, but for the wrong function."
    ),
    "GP142": "The kernel returns nan or infinity for finite inputs.",
    "GP143": ("The same values in another memory layout give different results. The kernel assumes one layout."),
    "GP144": "On the same inputs, results in 16 bits and in higher precision differ by more than rounding.",
    "GP145": "With an empty input the outputs do not depend on this array, but its gradient is not zero.",
    "GP201": (
        "A gradient must have the shape of its array. NumPy would broadcast another shape in an update and "
        "change the shape of the parameters."
    ),
    "GP202": (
        "A claim must have the structure of the argument: the same keys, the same nesting, one gradient for each array."
    ),
    "GP203": "The claim contains nan or infinity where f itself has finite values around the point.",
    "GP204": "The claim returned objects, strings, or complex numbers where real numbers are needed.",
    "GP205": (
        "A vector-Jacobian product is linear in its cotangent: twice the cotangent must give twice the "
        "result, and zeros must give zeros."
    ),
    "GP206": (
        "A Jacobian-vector or Hessian-vector product is linear in its vector: twice the vector must give "
        "twice the result, and zeros must give zeros."
    ),
    "GP207": "The second derivatives of a smooth function are symmetric: a Hessian equals its transpose.",
    "GP208": (
        "A linear operator has two products, `matvec` and `rmatvec`. Solvers use both, and here they belong "
        "to different matrices."
    ),
    "GP209": "`jac` between complex arrays means df = J dz, which only a holomorphic f has. This f is not holomorphic.",
    "GP210": (
        "f wrote into an array that it was given. Your data is unharmed, because f received copies, but f may"
        " return another value at its next call."
    ),
    "GP211": (
        "The claim wrote into an array that it was given. Your data is unharmed, because the claim received copies."
    ),
    "GP212": "The backward pass changed a buffer of a module. Training would depend on how often the backward runs.",
    "GP213": (
        "The claim gave two different answers at the same point: one fits f, the other is far off. It keeps "
        "something from one call to the next."
    ),
    "GP214": "A product is called with its vector first, then the point. This claim is right with the two swapped.",
    "GP216": (
        "The gradient is right for a contiguous cotangent and wrong for the same numbers in another memory layout. "
        "Production code passes such cotangents all the time: after `.sum()`, `.T`, `chunk` or `cat`."
    ),
    "GP217": (
        "The value or the gradient is right for contiguous inputs and wrong for the same numbers in another memory "
        "layout, such as a transposed or sliced tensor."
    ),
    "GP218": (
        "The backward pass wrote into its cotangent (`grad_output`). Other parts of the graph read the same memory, "
        "and get wrong gradients."
    ),
    "GP219": (
        "The backward pass wrote into its inputs or into what was saved for it. A second backward pass, and every "
        "other operation that saved the same tensor, reads the changed values."
    ),
    "GP220": "The same backward pass, run twice, gave different gradients.",
    "GP221": (
        "A backward pass multiplies everything by its cotangent (`grad_output`). Here a cotangent of zeros "
        "gives something else."
    ),
    "GP222": (
        "A backward pass may receive None for an output that takes no part in the loss. It must treat it as "
        "zeros, and here it does not."
    ),
    "GP223": "The derivative computed for many cotangents at once (`vmap`) differs from the one computed one by one.",
    "GP224": "The gradient does not have the layout, dtype, device or shape of the input that it belongs to.",
    "GP225": (
        "A gradient must not depend on which other gradients are asked for. Frozen layers and `torch.autograd.grad` "
        "ask for some of them only."
    ),
    "GP226": (
        "Gradients are added up over several backward passes. Here the sum is wrong, or a gradient returned earlier "
        "changes when the claim is called again."
    ),
    "GP227": (
        "The gradient is right for the inputs that were passed, and wrong for inputs of another shape, run afterwards. "
        "Something is kept from the first shape, or a block at the end is lost."
    ),
    "GP228": (
        "The backward pass uses what the last forward pass left behind, not what its own forward pass saved. A "
        "function that is applied twice in one model gets wrong gradients."
    ),
    "GP229": (
        "The result contains memory that was never written. It may be right by chance, because fresh memory is often "
        "zero, and wrong in the next run."
    ),
    "GP230": (
        "f returns another value while it is differentiated than by itself. Training would minimise another "
        "function than evaluation shows."
    ),
    "GP231": (
        "The `vmap` rule of a Function returns something else for a batch than the Function returns point by point."
    ),
    "GP301": (
        "Every value of f was the same, bit for bit, so nothing was tested. Either f does not use the "
        "argument, or it is constant here."
    ),
    "GP302": (
        "The claim and the slope are both zero here. A claim that is wrong by a factor would be zero as well,"
        " so check at another point too."
    ),
    "GP303": "f gave two different values at the same point. The spread counts as noise and widens the error bars.",
    "GP304": "f has no finite value at this point, so there is no derivative to compare with.",
    "GP305": "f raised an exception near this point, and too few of its values are left to tell.",
    "GP306": "The claim gave different values at the same point.",
    "GP310": "The value of f at this point does not fit its neighbours: f jumps here, so it has no slope.",
    "GP311": (
        "Close to the point f has another slope than a little further away, and the claim is one of the "
        "two. A cutoff such as `max(norm, 1e-5)` does that."
    ),
    "GP312": (
        "The claim is off by more than usual, but f itself jumps nearby, as a solver does where its number of"
        " iterations changes. That explains the difference."
    ),
    "GP313": (
        "Fine steps give one slope and coarse steps another, with jumps in between: a part of f is rounded. "
        "WRONG would need both slopes to exclude the claim."
    ),
    "GP314": (
        "f returns float64, but its values have no more digits than float32, or fewer. Smaller errors cannot be seen."
    ),
    "GP315": "These entries could not be judged: f moves there by no more than its rounding, or has no slope.",
    "GP316": (
        "The reference has no finite value here in float64, or overflows in the kernel's precision as the kernel does. "
        "These entries could not be compared."
    ),
    "GP317": (
        "The reference returns or computes lower precision even for arguments in float64, so it is no more precise "
        "than the kernel."
    ),
    "GP318": "For the same inputs the kernel gave results that differ by more than its rounding errors.",
    "GP319": (
        "Under autocast, the value or the gradient is further from a float64 copy without autocast than rounding to 16 "
        "bits explains."
    ),
    "GP401": "Two differentiated arrays share memory. gradproof measures them as separate arrays.",
    "GP402": "f does not change when this array alone moves, and the claim is zero, as it should be.",
    "GP404": "The claim has fewer digits than the array it belongs to. Its rounding counts as an error of the claim.",
    "GP405": "These parameters do not require grad, so they are not differentiated.",
    "GP406": "One parameter has several names. It has one gradient, the sum over all of its places.",
    "GP407": "The gradient of these tensors is None, and f does not depend on them.",
    "GP408": "The forward pass changes buffers, as batch normalisation in train mode does. They were put back.",
    "GP409": (
        "You registered hooks on these tensors. Training calls them, so they are part of the gradient that is checked."
    ),
    "GP410": "These derivatives are rounding errors of a true zero. They count as 0.",
    "GP411": "The gradients are named after their parameters, as `dW` for `W`. They were compared under those names.",
    "GP412": "A list or a number stood where an array is needed, or the other way round. It was converted.",
    "GP413": (
        "Only the inputs of this module were checked, not its parameters. `gradproof.torch.check_module` checks both."
    ),
    "GP420": "Lower and upper bound are equal, so these variables cannot move and their derivatives were not checked.",
    "GP421": "These entries are nan or infinite, and f ignores them. What is claimed for them was not checked.",
    "GP422": "x0 lay outside its bounds and was moved to the nearest one, as `scipy.optimize.minimize` does.",
    "GP423": "SciPy approximates or ignores this derivative itself, so there was nothing to check.",
    "GP424": "The layer keeps its parameters and their gradients. These pairs were found and compared.",
    "GP425": (
        "The gradients are right, but `backward` writes into the array that it receives. Another user of that array "
        "would get a wrong gradient."
    ),
    "GP426": "These sizes were left out, or there was nothing to prove, for the reason given.",
    "GP427": "These cases could not be judged: results differ by a little more than rounding, or there is no higher "
    "precision to compare with.",
    "GP430": "Every worker that evaluated f at some point ended without an answer. f counts as undefined there.",
}
