"""`publish`, `reproduce` and `export`: what leaves the results, and a new run beside that."""

from __future__ import annotations

from pathlib import Path

import click

from compact_bench.commands.options import FOLDER, JSON, READING, results_folder
from compact_bench.utils import printing

TABLES = ("md",)  # the formats that are published
CAPTIONS = Path("figures", "captions.md")  # the page has them


def publish_folder(folder: Path, target: Path) -> None:
    """Publish the records of `folder` in `target`, with tables, figures and page made from them.

    What else `report` makes of the records (CSV, LaTeX, captions as a file) is left out.
    Raises UserError where there is nothing to publish or `target` can't be written.
    """
    from compact_bench.records.published import TUNE, publish_records
    from compact_bench.report import page
    from compact_bench.utils.files import remove

    def complete(draft: Path) -> None:
        page.build(draft, table_formats=TABLES)
        remove(draft / CAPTIONS)
        if (folder / TUNE).exists():
            publish_search(folder / TUNE, draft / TUNE)

    publish_records(folder, target, complete)


def publish_search(folder: Path, target: Path) -> None:
    """Publish a search (its trials and storage, not their cells) and the test of its winner."""
    from compact_bench.records.published import without_folders
    from compact_bench.tune import trials, winners
    from compact_bench.tune.report import page
    from compact_bench.utils.files import remove, write_bytes

    search = trials.read(folder)
    suite, profile = search.suite["suite"], search.suite["profile"]
    tested = winners.tested_folder(folder, suite, profile)
    if winners.read_test(folder, suite, profile) is not None:
        publish_folder(tested, winners.tested_folder(target, suite, profile))
    trials.write(target, trials.Search(without_folders(search.suite), search.studies, search.notes))
    if (best := winners.read_best(folder)) is not None:
        winners.write_best(target, without_folders(best), search.studies)
    if (folder / trials.STORAGE).exists():
        write_bytes(target / trials.STORAGE, (folder / trials.STORAGE).read_bytes())
    page.build(target, TABLES)
    remove(target / CAPTIONS)


@click.command()
@READING
def publish(file: Path, profile: str | None, results: Path) -> None:
    """Copy the results of FILE, without weights, to RESULTS/published/."""
    target = results_folder(file, profile, results / "published")
    publish_folder(results_folder(file, profile, results), target)
    click.echo(f"published: {target}")


@click.command()
@READING
@JSON
def reproduce(file: Path, profile: str | None, results: Path, as_json: bool) -> int:
    """Compare the results of FILE with the published ones; exit code 1 if they differ.

    What is published lies in RESULTS/published, else in results/published of this folder.
    """
    from compact_bench.report import comparison

    own, usual = (folder / "published" for folder in (results, Path("results")))
    published = results_folder(file, profile, own)
    if not published.is_dir():
        published = results_folder(file, profile, usual)
    rows = comparison.reproduce(results_folder(file, profile, results), published)
    click.echo(printing.as_json(rows) if as_json else printing.table_text(rows))
    return 0 if all(row.get("same", True) for row in rows) else 1


@click.command()
@click.argument("results", type=FOLDER)
@click.argument("row")
@click.argument("folder", type=FOLDER)
@click.option("--seed", type=int, help="The student of this seed [the first that is done].")
@click.option("--merge", is_flag=True, help="Add adapters to the weights: one plain model.")
@click.option("--student", default="", help="Where the untrained student is now, if it moved.")
@click.option("--push", metavar="OWNER/NAME", help="Upload the folder to this model of the hub.")
def export(
    results: Path,
    row: str,
    folder: Path,
    seed: int | None,
    merge: bool,
    student: str,
    push: str | None,
) -> None:
    """Save the trained student of ROW in FOLDER as transformers and PEFT load it.

    RESULTS is a folder such as results/gsm8k/mini. The tokenizer and a model card made from the
    records come with it. --push needs a token of the hub in the environment (HF_TOKEN).
    """
    from compact_bench.analysis.results import read
    from compact_bench.errors import UserError
    from compact_bench.execution import export as students
    from compact_bench.report import comparison, model_card
    from compact_bench.utils.files import write_text

    made = read(results)
    found = comparison.find(made, row)
    chosen = next(iter(found.done), None) if seed is None else seed
    if chosen not in found.done:
        seeds = ", ".join(map(str, found.done)) or "none"
        raise UserError(f"--seed {seed}: the seeds of {found.label} that are done are {seeds}")
    adapters = bool(made.suite["student"].get("lora")) and not merge

    def complete(draft: Path) -> None:
        write_text(draft / model_card.FILE, model_card.model_card(made, found, chosen, adapters))

    students.export(found.done[chosen], folder, merge, student, complete)
    click.echo(f"exported: {folder} ({found.label}, seed {chosen})")
    if push:
        from huggingface_hub import HfApi

        hub = HfApi()
        hub.create_repo(push, exist_ok=True)
        hub.upload_folder(repo_id=push, folder_path=folder)
        click.echo(f"pushed: {push}")
