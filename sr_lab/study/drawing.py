"""Draws that the page and the analysis make alike: 32 bits that depend on a text alone."""


def hash32(text: str) -> int:
    """FNV-1a over the text's bytes, then MurmurHash3's finaliser; the page computes the same in JavaScript.

    >>> hash32("") == hash32(""), hash32("a") != hash32("b")
    (True, True)
    """
    value = 2166136261
    for byte in text.encode():
        value = ((value ^ byte) * 16777619) & 0xFFFFFFFF
    value ^= value >> 16
    value = (value * 0x85EBCA6B) & 0xFFFFFFFF
    value ^= value >> 13
    value = (value * 0xC2B2AE35) & 0xFFFFFFFF
    return value ^ (value >> 16)


def swapped(seed: int, code: str, key: str) -> bool:
    """Whether the second picture of a trial is on the left for this rater."""
    return bool(hash32(f"{seed}:{code}:side:{key}") & 1)


def place(seed: int, code: str, trial: str) -> int:
    """By what a rater's trials are sorted."""
    return hash32(f"{seed}:{code}:order:{trial}")
