"""The claims that are checked, in the order of the document, and the words around them."""

from __future__ import annotations

import tomllib
from importlib import resources

from pydantic import BaseModel, ConfigDict, Field

from bench.claims.imitation import LowersShift
from bench.claims.matching import BEST_IN_ONE_STEP, NeedsNoPairs
from bench.claims.moments import EightSteps
from bench.claims.parts import Claim, Rules
from bench.claims.sid import FallsAsPower, ReachesTeacher

CLAIMS: tuple[Claim, ...] = (
    ReachesTeacher(),
    FallsAsPower(),
    BEST_IN_ONE_STEP,
    NeedsNoPairs(),
    EightSteps("alternating"),
    EightSteps("instant"),
    LowersShift("progressive"),
    LowersShift("lcm"),
    LowersShift("dmd2"),
)


class Words(BaseModel):
    """What a paper says, and what was tried where it did not come out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    statement: str = Field(description="the paper's, in our words")
    papers: tuple[str, ...] = Field(description="BibTeX keys")
    tried: dict[str, str] = Field({}, description="by suite: shown where the claim does not hold")


class ClaimsFile(BaseModel):
    """``bench/data/claims.toml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    margin: float = Field(ge=0)
    r2: float = Field(gt=0, lt=1)
    claims: dict[str, Words]

    @property
    def rules(self) -> Rules:
        """The numbers that verdicts hang on."""
        return Rules(self.margin, self.r2)


def load_claims() -> ClaimsFile:
    """Read the file that ships."""
    text = (resources.files("bench") / "data" / "claims.toml").read_text(encoding="utf-8")
    return ClaimsFile.model_validate(tomllib.loads(text))
