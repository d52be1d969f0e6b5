"""One kernel at many sizes, dtypes, devices and layouts: each case by itself, and one report of the whole.

`gradproof.torch.check_kernel` uses it. It calls the kernel through `_backends` and proves single cases through `_ask`;
which sizes are tried, how a failure is shrunk and how what fails is described know nothing of a framework.
"""
