"""Lanes that outlive the loss of a peer: items are kept, replayed and deduplicated."""
