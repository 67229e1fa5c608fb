"""Builders of Kubernetes objects: equal arguments give equal objects, byte for byte.

`job.build_job` makes the Job of one attempt of a step (with environment, Secrets, storage and TLS), and
`identity.build_identity` the account that it runs under.
"""
