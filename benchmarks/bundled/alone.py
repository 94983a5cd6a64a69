"""The command line of a benchmark that runs alone."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence

from lanemesh import LanemeshError

from chain.report import Verdict, console, status, verdicts_table


def main(description: str, quick: str, verdicts: Callable[[bool], Awaitable[Sequence[Verdict]]]) -> int:
    """Runs a benchmark, and prints its verdicts. Returns the exit status: 0 if all are met.

    Args:
        description: what it measures.
        quick: what `--quick` does.
        verdicts: runs it, quickly or not.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=quick)
    arguments = parser.parse_args()

    async def measured() -> Sequence[Verdict]:
        return await verdicts(arguments.quick)

    try:
        found = asyncio.run(measured())
    except LanemeshError as error:
        print(error, file=sys.stderr)
        return 1
    console().print(verdicts_table(list(found)))
    return status(found)
