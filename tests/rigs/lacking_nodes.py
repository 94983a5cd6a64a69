"""Node types whose Python packages are missing, in part or altogether."""

from lanemesh import In, Node, Out


class Lacking(Node):
    """Needs packages that no one has."""

    pip_extra = "documents"
    python_packages = ("json", "lanemesh_absent", "lanemesh_absent.inner")

    text: In[str]
    out: Out[str]

    def process(self, context: object) -> dict[str, str]:
        """Returns its input."""
        return {"out": self.text}


class Having(Node):
    """Needs packages that are there."""

    python_packages = ("json", "email.message")

    text: In[str]
    out: Out[str]

    def process(self, context: object) -> dict[str, str]:
        """Returns its input."""
        return {"out": self.text}
