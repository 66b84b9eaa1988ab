"""The service: a restorer, or the models of a registry, behind HTTP."""
