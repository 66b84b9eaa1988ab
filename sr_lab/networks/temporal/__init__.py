"""Networks for clips: BasicVSR with SPyNet, and a causal one that streams."""
