"""Waiting and tasks: what asyncio lacks, for every layer above."""
