"""Lanes that outlive the loss of a peer: items are kept, sent again and deduplicated."""
