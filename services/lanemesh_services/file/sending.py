"""Sends the inputs of a client by the outputs that can carry them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lanemesh import Context, Outputs

Forms = Mapping[str, Any]
"""A value for each output that can carry it."""


async def send_inputs(
    context: Context, outputs: Outputs, forms_of: Callable[[Any, str], Forms], what: str, *, fallback: str = ""
) -> None:
    """Sends each input by every connected output that can carry it, or by the one that the client names.

    Args:
        context: that of the source.
        outputs: its outputs.
        forms_of: returns a value for each output that can carry an input, from the input and its lane.
        what: a description of an input for errors, such as "a file".
        fallback: an output that carries an input only if no other one can.

    Raises:
        TypeError: no connected output can carry an input.
    """
    async for given in context.client.inputs(context.component):
        if not given.has_value:
            continue
        forms = forms_of(given.item.value, given.kind)
        ports = [given.port] if given.port else [port for port in forms if port in context.connected_outputs]
        if fallback in ports and len(ports) > 1:
            ports.remove(fallback)
        if not set(ports) & forms.keys():
            connected = ", ".join(sorted(context.connected_outputs)) or "nothing"
            raise TypeError(
                f"{what} of type {given.kind} can be sent by {', '.join(forms) or 'no output'}, but connected is {connected}. "
                f"Connect one of these outputs, or send {what} of another type"
            )
        for port in ports:
            await outputs.emit(port, forms[port], given.item.envelope)
