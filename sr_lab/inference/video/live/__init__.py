"""Video as it comes in: threads for reading and writing, decisions as functions of numbers, counters."""
