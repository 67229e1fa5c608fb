"""The controller-manager: wires every reconciler to the runtime and owns `main()`."""
