"""Writes the demo's workload from the Azure LLM inference trace 2023 (conversation).

    python3 tests/data/azure_llm_conv.py AzureLLMInferenceTrace_conv.csv > aggregator/src/demo/azure_llm_conv.csv

Each row: ms since the row before (since the first request for the first), context tokens, generated tokens.
"""

import csv
import datetime
import sys


def milliseconds(text: str) -> int:
    """Microseconds are the most that fromisoformat takes; the trace has 100 ns."""
    return round(datetime.datetime.fromisoformat(text[:26]).timestamp() * 1000)


with open(sys.argv[1], newline="") as trace:
    rows = sorted((milliseconds(r["TIMESTAMP"]), r["ContextTokens"], r["GeneratedTokens"]) for r in csv.DictReader(trace))
before = rows[0][0]
print("gap_ms,context,generated")
for at, context, generated in rows:
    print(f"{at - before},{context},{generated}")
    before = at
