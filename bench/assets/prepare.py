"""What ``bench prepare`` does: say what is here, show licences, fetch the rest, name all that failed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.assets.fetch import Fetcher
from bench.assets.needs import missing_text
from bench.assets.registry import Asset
from bench.errors import AssetError, UsageError

OFFLINE = "Offline, so nothing is fetched: put the files there, give --mirror FOLDER, or go online"


@dataclass(frozen=True)
class Preparation:
    """Assets to have, and how.

    Attributes:
        offline: open no socket.
        agree: asked once about licences that forbid commercial use; is given their names.
    """

    fetcher: Fetcher
    offline: bool
    agree: Callable[[list[str]], bool]

    def run(self, wanted: list[Asset]) -> None:
        """Have every asset here and verified.

        Raises:
            UsageError: the licences were not agreed to.
            AssetError: some are missing or broken; the others are here.
        """
        here, missing, failures = self._look(wanted)
        for asset in here:
            self.fetcher.watcher.say(f"present  {asset.id}")
        if missing and self.offline and self.fetcher.origin.remote:
            failures.append(missing_text(missing, self.fetcher.store, OFFLINE))
            missing = []
        self._licences([asset for asset in missing if self.fetcher.origin.address(asset)])
        for asset in missing:
            try:
                path = self.fetcher.fetch(asset)
                self.fetcher.watcher.say(f"fetched  {asset.id}  {path}")
            except AssetError as error:
                failures.append(str(error))
        if failures:
            raise AssetError("; ".join(failures))

    def _look(self, wanted: list[Asset]) -> tuple[list[Asset], list[Asset], list[str]]:
        here, missing, failures = list[Asset](), list[Asset](), list[str]()
        for asset in wanted:
            try:
                (missing if self.fetcher.store.verified(asset) is None else here).append(asset)
            except AssetError as error:
                failures.append(f"{error}; remove the file to fetch it again")
        return here, missing, failures

    def _licences(self, coming: list[Asset]) -> None:
        """Show the licence of everything to come; those that forbid commercial use need a yes, once."""
        for asset in coming:
            self.fetcher.watcher.say(f"to fetch {asset.id}  {asset.size_text}  {asset.licence_text}")
        agreed = self.fetcher.store.ledger().licences
        asked = list(dict.fromkeys(a.licence for a in coming if a.restricted and a.licence not in agreed))
        if not asked:
            return
        if not self.agree(asked):
            raise UsageError(f"not agreed to: {', '.join(asked)}; nothing was fetched")
        self.fetcher.store.change(lambda ledger: ledger.licences.extend(asked))
