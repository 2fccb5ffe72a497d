"""Terms of published weights, as far as they are known; never a substitute for reading them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Licence:
    """Name of the terms, whether they allow commercial use (None: not known), and how that is known."""

    name: str
    commercial: bool | None
    basis: str

    def sentence(self) -> str:
        """One clear sentence."""
        use = {
            True: "commercial use is allowed",
            False: "NON-COMMERCIAL use only",
            None: "whether commercial use is allowed is not known",
        }[self.commercial]
        return f"licence: {self.name}: {use} ({self.basis})"


NVIDIA = Licence("CC BY-NC-SA 4.0", False, "stated in the source embedded in the file")
DERIVED = Licence(
    "CC BY-NC-SA 4.0",
    False,
    "as EDM's and EDM2's weights, from which it is distilled",
)
OPENAI = Licence("MIT", True, "OpenAI's published nets of this format")
UNKNOWN = Licence("not stated in the file", None, "see the page it came from")
