"""From what was asked for to the jobs to run: which notebooks, on which categories, with which parameters."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.category import evaluate_settings, fit_settings, render_settings
from fmcore.data import Progress
from fmcore.data.check import check
from fmcore.data.folders import find_good_images, find_test_items, read_folder
from fmcore.data.picture import read_picture
from fmcore.data.rendered import CATEGORIES
from fmcore.errors import DataError, SettingsError
from runner.book import Notebook, find_notebook
from runner.execute import Job, execute, finished, read_record
from runner.parameters import check_ranges, parse_parameters
from runner.provenance import folder_fingerprint, hash_of, notebook_hash, source_hash, versions
from runner.workers import run_jobs

RENDERED = ("gear", "brick")  # categories of a report without data
FOLDERS = ("data", "model", "runs", "benchmark", "compare", "out")  # parameters that are paths
CHECKED = {
    fit_settings: ("settings", "field", "encoder"),
    evaluate_settings: ("evaluation",),
    render_settings: ("rendering",),
}


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


def plan(request: Request, progress: Callable[[str, Progress], None] = lambda name, record: None) -> Plan:
    """Check everything that can be checked without a kernel, and lay out the jobs. Raises, before anything is written,
    `SettingsError` for an unknown or mistyped parameter or category, and `DataError` for data that can't be used."""
    notebook, each = request.notebook, request.notebook.per_category
    values = _values(request, each)
    data, wanted = values.get("data"), list(request.categories) or list(filter(None, [values.get("category")]))
    if each is None and request.categories:
        raise SettingsError(f"Notebook '{notebook.name}' does not run over categories: leave out --categories.")
    if values.get("runs"):  # a report on what was run before
        return Plan(request, [_job(notebook, request.out, values, fingerprint=FOLDERS[2:5])], None, [])
    if each is None or (each.name == notebook.name and not wanted and not data):
        skipped = _check({"data": Path(data)} if data else {}, request, progress, tested=False)
        return Plan(request, [_job(notebook, request.out, values)], None, skipped)
    folders = _category_folders(data, wanted) if data else _rendered(wanted)
    skipped = _check({k: v for k, v in folders.items() if v}, request, progress, tested=True)
    summary = notebook if each.name != notebook.name else None
    inside = request.out / "categories" if summary else request.out
    jobs = []
    for name, folder in folders.items():
        own = {k: v for k, v in values.items() if k in each.parameters}
        own |= {"category": name} | ({"data": str(folder)} if folder else {})
        out = request.out if summary is None and len(folders) == 1 else inside / name
        jobs.append(_job(each, out, own, label=name))
    if summary is None:
        return Plan(request, jobs, None, skipped)
    own = {k: v for k, v in values.items() if k in summary.parameters}
    own |= {"runs": str(inside), "categories": ",".join(folders)}
    # Its data are the runs, whose own records hold the fingerprints.
    job = _job(summary, request.out, own, fingerprint=("benchmark", "compare"))
    return Plan(request, jobs, replace(job, notes=skipped), skipped)


def run(
    laid: Plan, *, workers: int, scheduler: str | None, force: bool, echo: Callable[[str, str], None]
) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Run a plan and yield each job with its record as it ends; the summary comes last, whatever failed before."""
    if force:
        for job in [*laid.jobs, *filter(None, [laid.summary])]:
            (Path(job.out) / "run.json").unlink(missing_ok=True)
    left = []
    for job in laid.jobs:
        if record := finished(job):
            yield job, record | {"skipped": True}
        else:
            left.append(job)
    yield from run_jobs(left, workers=workers, scheduler=scheduler, echo=echo)
    if laid.summary is not None:
        # It must be made again whenever one of the runs it reads was.
        records = [read_record(Path(job.out)) for job in laid.jobs]
        key = {**laid.summary.key, "runs": hash_of([[r.get("started"), r.get("status")] for r in records])}
        summary = replace(laid.summary, key=key)
        yield summary, execute(summary, lambda line: echo(summary.label, line))


def run_categories(out: str | Path, categories: str = "", data: str = "", **values: Any) -> str:
    """For a report run by hand: evaluate each category with the notebook for that, one after the other; what is
    done is skipped. Returns the folder of the runs."""
    given = {k: v if isinstance(v, str) else json.dumps(v) for k, v in {"data": data, **values}.items() if v != ""}
    names = tuple(filter(None, (name.strip() for name in categories.split(","))))
    laid = plan(Request(find_notebook("07_report"), Path(out).resolve(), given, names))
    alone = {"workers": 1, "scheduler": None, "force": False, "echo": lambda label, line: None}
    for job, record in run(replace(laid, summary=None), **alone):
        print(f"{job.label}: {record['error'] or ('kept' if record.get('skipped') else 'done')}")
    return str(Path(out).resolve() / "categories")


def _values(request: Request, each: Notebook | None) -> dict[str, Any]:
    """The given parameters of the notebook, and of the one that it runs on each category, checked."""
    if "out" in request.given:
        raise SettingsError("Parameter 'out' is given by --out.")
    known = {**(each.parameters if each else {}), **request.notebook.parameters}
    values = parse_parameters(request.given, known, request.notebook.name)
    values |= {k: str(Path(values[k]).expanduser().resolve()) for k in FOLDERS if values.get(k)}
    for missing in (name for name in FOLDERS if values.get(name) and not Path(values[name]).exists()):
        raise DataError(f"There is no folder '{values[missing]}', which is parameter '{missing}': check the path.")
    for book in filter(None, (each, request.notebook)):
        check_ranges({k: v for k, v in values.items() if k in book.parameters}, book.code)
    for parse, names in CHECKED.items():
        parse(**{k: values.get(k, known[k].default) for k in names if k in known})
    return values


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
    key["versions"] = hash_of(versions())
    parameters = {name: parameter.default for name, parameter in notebook.parameters.items()}
    parameters |= {**values, "out": str(out)}
    return Job(str(notebook.path), label or notebook.name, str(out), parameters, key)


def _check(
    folders: dict[str, Path], request: Request, progress: Callable[[str, Progress], None], *, tested: bool
) -> list[str]:
    """Open every image and mask. Sentences about files that are left out; refused unless the request is lenient."""
    problems = []
    for name, folder in folders.items():
        if folder.is_file() and not tested:
            read_picture(folder)
            continue
        find_good_images(folder)
        kinds = {item.is_good for item in find_test_items(folder)} if tested else {True, False}
        for missing, where in (("good", "good"), ("defective", "<defect>")):
            if (missing == "good") not in kinds:
                said = f"Category '{name}' has no {missing} test image: put some into '{folder}/test/{where}', or leave"
                raise DataError(f"{said} the category out (--categories).")
        for record in check(folder):
            progress(name, record)
            problems += record.result.damaged if record.result else []
    if problems and not request.lenient:
        more = len(problems) - 1
        rest = f" The same goes for {more} more file{'s' * (more > 1)}." if more else ""
        raise DataError(f"{problems[0]}{rest} To go on without, add --lenient.")
    return [f"Left out: {sentence}" for sentence in problems]


def _category_folders(data: str | Path, wanted: list[str]) -> dict[str, Path]:
    """Folders of the categories by name: ``data`` itself, or those in it, or only the ``wanted`` ones."""
    root = Path(data).resolve()
    found = {n: root / n if (root / n).is_dir() else root for n in read_folder(root).categories}
    for name in wanted:
        if name not in found:
            raise SettingsError(f"There is no category '{name}' in '{root}': it has {', '.join(found)}.")
    return {name: folder for name, folder in found.items() if not wanted or name in wanted}


def _rendered(wanted: list[str]) -> dict[str, Path | None]:
    for name in wanted:
        if name not in CATEGORIES:
            raise SettingsError(f"There is no rendered category '{name}': there are {', '.join(CATEGORIES)}.")
    return dict.fromkeys(wanted or RENDERED)
