"""CEL: the rules of CustomResourceDefinitions and the conditions of webhooks.

A compiler of our own, because nothing for Python speaks the language of a kube-apiserver: `parser` makes nodes,
`checker` their types, `estimate` what they cost at most, `compiler` closures, `library` has the functions,
`declarations` turns schemas into types, `rules` applies `x-kubernetes-validations`. What is accepted, what it means and
how faults are told is as a kube-apiserver of 1.35 does it; the tests ask one.
"""

from bobrapet.local.apiserver.cel.errors import CelError
from bobrapet.local.apiserver.cel.rules import ABSENT, Validator, validator

__all__ = ["ABSENT", "CelError", "Validator", "validator"]
