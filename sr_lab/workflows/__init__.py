"""What the product does, one file a workflow: live objects and plain values in, a result out; no printing, no exits."""
