"""Pure builders of the Kubernetes objects that a step becomes."""
