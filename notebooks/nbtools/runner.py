"""From what was asked for to the jobs to run: which notebooks, on which categories, with which parameters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fmcore.data.rendered import CATEGORIES
from fmcore.errors import SettingsError
from nbtools.catalogue import Notebook, find_notebook
from nbtools.checks import CheckRecord, category_folders, check_any, check_category, refuse
from nbtools.execute import Job, execute, finished, read_record
from nbtools.fanout import run_jobs
from nbtools.parameters import check_ranges, parse_parameters
from nbtools.provenance import folder_fingerprint, notebook_hash, source_hash, versions

RENDERED = ("gear", "brick")  # categories of a report without data
FOLDERS = ("data", "model", "runs", "benchmark", "out")  # parameters that are paths


@dataclass(frozen=True)
class Request:
    """What the command line was given, as text."""

    notebook: Notebook
    out: Path
    given: dict[str, str]
    categories: tuple[str, ...] = ()
    lenient: bool = False


@dataclass(frozen=True)
class Plan:
    """Jobs that can run side by side, and the notebook that reads their results, if there is one."""

    request: Request
    jobs: list[Job]
    summary: Job | None
    skipped_files: list[str]


def plan(request: Request, progress: Callable[[CheckRecord], None] = lambda record: None) -> Plan:
    """Check everything that can be checked without a kernel, and lay out the jobs.

    Raises:
        SettingsError: for an unknown or mistyped parameter, category or notebook. DataError: for data that can't be
            used. Both before anything is written.
    """
    notebook = request.notebook
    each = _per_category(notebook)
    known = {**(each.parameters if each else {}), **notebook.parameters}
    if "out" in request.given:
        raise SettingsError("Parameter 'out' is given by --out.")
    values = parse_parameters(request.given, known, notebook.name)
    values |= {k: str(Path(values[k]).expanduser().resolve()) for k in FOLDERS if values.get(k)}
    for book in filter(None, (each, notebook)):
        check_ranges({k: v for k, v in values.items() if k in book.parameters}, _code(book))
    if each is None:
        if request.categories:
            raise SettingsError(f"Notebook '{notebook.name}' does not run over categories: leave out --categories.")
        folders = {"data": Path(values["data"])} if values.get("data") else {}
        skipped = _check_data(folders, request, progress, tested=False)
        return Plan(request, [_job(notebook, request.out, values)], None, skipped)
    wanted = list(request.categories) or ([values["category"]] if values.get("category") else [])
    if each.name == notebook.name and not wanted and not values.get("data"):
        return Plan(request, [_job(notebook, request.out, values)], None, [])
    folders = category_folders(values["data"], wanted) if values.get("data") else _rendered(wanted)
    skipped = _check_data(folders, request, progress, tested=True)
    summary = notebook if each.name != notebook.name else None
    jobs = []
    for name, folder in folders.items():
        alone = summary is None and len(folders) == 1
        out = request.out if alone else request.out / ("categories" if summary else "") / name
        own = {k: v for k, v in values.items() if k in each.parameters}
        own |= {"category": name} | ({"data": str(folder)} if folder else {})
        jobs.append(_job(each, out, own, label=name))
    if summary is None:
        return Plan(request, jobs, None, skipped)
    own = {k: v for k, v in values.items() if k in summary.parameters}
    own["runs"] = str(request.out / "categories")
    own["categories"] = ",".join(folders)
    # Its data are the runs, whose own records hold the fingerprints.
    job = _job(summary, request.out, own, fingerprint=("benchmark",))
    return Plan(request, jobs, replace(job, notes=skipped), skipped)


def run(
    laid: Plan, *, workers: int, scheduler: str | None, force: bool, echo: Callable[[str, str], None]
) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Run a plan and yield each job with its record as it ends; the summary comes last, whatever failed before."""
    if force:
        for job in [*laid.jobs, *filter(None, [laid.summary])]:
            (Path(job.out) / "run.json").unlink(missing_ok=True)
    done = [(job, record | {"skipped": True}) for job in laid.jobs if (record := finished(job))]
    yield from done
    left = [job for job in laid.jobs if job not in [d for d, _ in done]]
    yield from run_jobs(left, workers=workers, scheduler=scheduler, echo=echo)
    if laid.summary is not None:
        # It must be made again whenever one of the runs it reads was.
        records = [read_record(Path(job.out)) for job in laid.jobs]
        key = {**laid.summary.key, "runs": _hash([[r.get("started"), r.get("status")] for r in records])}
        summary = replace(laid.summary, key=key)
        yield summary, execute(summary, lambda line: echo(summary.label, line))


def run_categories(out: str | Path, categories: str = "", data: str = "", **values: Any) -> str:
    """For a report run by hand: evaluate each category with the notebook for that, one after the other; what is
    done is skipped. Returns the folder of the runs."""
    given = {k: str(v) for k, v in {"data": data, **values}.items() if v != ""}
    names = tuple(filter(None, (name.strip() for name in categories.split(","))))
    laid = plan(Request(find_notebook("07_report"), Path(out).resolve(), given, names))
    for job, record in run(replace(laid, summary=None), workers=1, scheduler=None, force=False, echo=_ignore):
        print(f"{job.label}: {record['error'] or ('kept' if record.get('skipped') else 'done')}")
    return str(Path(out).resolve() / "categories")


def _per_category(notebook: Notebook) -> Notebook | None:
    name = notebook.per_category
    return notebook if name == notebook.name else find_notebook(name) if name else None


def _ignore(label: str, line: str) -> None:
    pass


def _job(
    notebook: Notebook, out: Path, values: dict[str, Any], *, label: str = "", fingerprint: tuple = ("data", "model")
) -> Job:
    key: dict[str, Any] = {"notebook": notebook_hash(notebook.node.cells), "code": source_hash()}
    for name in fingerprint:
        if values.get(name):
            key[name] = folder_fingerprint(values[name])
            # A category of VisA is one folder and its lines of a table beside it.
            table = Path(values[name]).parent / "split_csv"
            key |= {"table": folder_fingerprint(table)} if table.is_dir() else {}
    key["versions"] = _hash(versions())
    parameters = {name: parameter.default for name, parameter in notebook.parameters.items()}
    parameters |= {**values, "out": str(out)}
    return Job(str(notebook.path), label or notebook.name, str(out), parameters, key)


def _check_data(
    folders: dict[str, Path | None], request: Request, progress: Callable[[CheckRecord], None], *, tested: bool
) -> list[str]:
    """Sentences about files that are left out; refused unless the request is lenient."""
    problems = {}
    for name, folder in folders.items():
        if folder is None:
            continue
        for record in check_category(name, folder, tested=True) if tested else check_any(folder):
            progress(record)
            problems[name] = record.problems
    if not request.lenient:
        refuse(problems)
    return [f"Left out: {sentence}" for said in problems.values() for sentence in said]


def _rendered(wanted: list[str]) -> dict[str, Path | None]:
    for name in wanted:
        if name not in CATEGORIES:
            raise SettingsError(f"There is no rendered category '{name}': there are {', '.join(CATEGORIES)}.")
    return dict.fromkeys(wanted or RENDERED)


def _code(notebook: Notebook) -> str:
    return "\n".join(c.source for c in notebook.node.cells if c.cell_type == "code")


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
