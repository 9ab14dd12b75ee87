"""The bundle: what is in it, what must not be, and that it notices whatever was done to it."""

import dataclasses
import hashlib
import json
import marshal
import os
import re
import shutil
import subprocess
import sys
import zipfile

import pandas as pd
import pytest
from conftest import lpgnet, refused
from test_report import filled

from lpgnet import places
from lpgnet.beyond.archive import bundle, crate, verify
from lpgnet.beyond.report import page
from lpgnet.config import ROOT
from lpgnet.machine.code import swhids
from lpgnet.runs import records
from lpgnet.tables.typeset import SIMULATED

RAN = ("01_feature_extraction", "02_training", "04_sdt_comparison", "06_paper_tables")
# Terms of https://w3id.org/ro/crate/1.1/context that a crate of ours uses.  The validator asks for that page;
# tests have no network.  Those of schema.org go by their own names there, but for these two.
SCHEMA = "http://schema.org/"
TERMS = {"File": f"{SCHEMA}MediaObject", "conformsTo": "http://purl.org/dc/terms/conformsTo"} | {
    name: SCHEMA + name
    for name in (
        *("CreateAction", "CreativeWork", "Dataset", "Organization", "PropertyValue"),
        *("SoftwareApplication", "SoftwareSourceCode", "about", "agent", "author", "datePublished"),
        *("description", "encodingFormat", "endTime", "hasPart", "identifier", "instrument", "license"),
        *("mentions", "name", "object", "result", "softwareVersion", "startTime", "value", "version"),
    )
}
WANTED = (  # by SHOULD and not met: this copy has no public address, and no person who ran it is known
    "The Application SHOULD have a url",
    "The organization SHOULD have a URL.",
    "The SoftwareApplication id SHOULD be an absolute URI",
    "The Action SHOULD have an agent that is a Person or Organization",
    "The Action SHOULD have an endTime in ISO 8601 format",  # of this test's notebooks alone
    "The `publisher` property of a `Root Data Entity` SHOULD be an `Organization`",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    made = dataclasses.replace(places.place(), output=tmp_path_factory.mktemp("bundle"))
    filled(made)
    made.notebooks.mkdir()
    for name in RAN:
        (made.notebooks / f"{name}.html").write_text("<p>ran</p>")
        copy = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())
        copy["metadata"]["papermill"] = {"start_time": "2026-01-02T03:04:05.678901+00:00", "end_time": None}
        (made.notebooks / f"{name}.ipynb").write_text(json.dumps(copy))
    page.write(made)
    return made


@pytest.fixture(scope="module")
def made(place):
    return bundle.write(place, place.output / "out" / "simulated.zip")


def check(path) -> tuple[int, list[str]]:
    """Python without our package, as a stranger has it."""
    done = subprocess.run([sys.executable, "-I", str(path)], capture_output=True, text=True, cwd=path.parent, env={})
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def changed(source, out, drop=(), put=None):
    """The same zip with some files left out or given other content."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            if name not in drop:
                new.writestr(name, (put or {}).get(name, old.read(name)))
        for name in set(put or {}) - set(old.namelist()):
            new.writestr(name, put[name])
    return out


def test_a_whole_bundle_says_so_and_names_its_manifest(made):
    code, said = check(made.path)
    assert code == 0 and said[0] == f"{made.files} files, all as MANIFEST.sha256 says"
    assert said[1].endswith(made.manifest)
    lines = zipfile.ZipFile(made.path).read("MANIFEST.sha256")
    assert hashlib.sha256(lines).hexdigest() == made.manifest


def test_what_was_done_to_a_bundle_is_named(made, tmp_path):
    record = next(n for n in zipfile.ZipFile(made.path).namelist() if "/runs/full/" in n)
    table = "paper_tables/simulated/table2.csv"
    spoilt = changed(made.path, tmp_path / "x.zip", drop=[record], put={table: b"1", "new.txt": b"2"})
    code, said = check(spoilt)
    assert code == 1
    assert said[:-1] == [f"missing: {record}", "extra: new.txt", f"bad: {table}"]
    bare = changed(made.path, tmp_path / "y.zip", drop=["MANIFEST.sha256"])
    code, said = check(bare)
    assert code == 1 and said[0] == "missing: MANIFEST.sha256; without it nothing can be checked"


EVIL = b"import sys; print('imported'); sys.exit(0)"
SHADOWS = ("hashlib", "zlib", "zipfile", "json", "pathlib", "marshal", "stat", "encodings/__init__", "re")


def appended(path, name="x", content=b"", **about):
    """One more entry in the zip; about: of its ZipInfo."""
    entry = zipfile.ZipInfo(name)
    for key, value in about.items():
        setattr(entry, key, value)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry, content)


def hidden_between(path):
    """An entry that the directory at the end doesn't name."""
    before = path.read_bytes()
    appended(path, "secret", b"x")
    with zipfile.ZipFile(path, "a") as archive:
        del archive.NameToInfo["secret"], archive.filelist[-1]
        archive._didModify = True
    assert len(path.read_bytes()) > len(before) and "secret" not in zipfile.ZipFile(path).namelist()


def commented(path):
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"x"


TABLE = "paper_tables/simulated/table2.csv"
BYTES = "extra: a comment, or bytes before, between or after the files"


@pytest.mark.parametrize(
    ("tamper", "says"),
    [
        (lambda p: appended(p, "new/"), ["extra: new/"]),
        (lambda p: appended(p, ".hidden"), ["extra: .hidden"]),
        (lambda p: appended(p, "../up"), ["extra: ../up"]),
        (lambda p: appended(p, "to", external_attr=0o120777 << 16), ["extra: to", "no plain file: to"]),
        (lambda p: appended(p, TABLE), [f"twice: {TABLE}", f"bad: {TABLE}"]),
        (lambda p: appended(p, "x", comment=b"y"), ["extra: x", BYTES]),
        (lambda p: appended(p, "x", extra=b"ab\0\0"), ["extra: x", BYTES]),
        (commented, [BYTES]),
        (hidden_between, [BYTES]),
        (lambda p: p.write_bytes(p.read_bytes() + b"x"), [BYTES]),
        (lambda p: p.write_bytes(b"#!/bin/sh\n" + p.read_bytes()), [BYTES]),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_was_added_to_a_zip_is_noticed(made, tmp_path, tamper, says):
    copy = tmp_path / "x.zip"
    shutil.copy(made.path, copy)
    tamper(copy)
    code, said = check(copy)
    assert code == 1 and said[:-1] == says


def test_the_check_imports_nothing_from_what_it_checks(made, tmp_path):
    evil = {f"{name}.py": EVIL for name in SHADOWS}
    spoilt = shutil.copy(made.path, tmp_path / "x.zip")
    for name, content in evil.items():
        appended(spoilt, name, content)
    folder = tmp_path / "here"
    zipfile.ZipFile(spoilt).extractall(folder)
    for path in (spoilt, folder, folder / "__main__.py"):
        done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, cwd=tmp_path)
        said = done.stdout.splitlines()
        assert done.returncode == 1 and said[:-1] == sorted(f"extra: {name}" for name in evil), done.stderr


def test_links_pipes_and_caches_in_an_unpacked_bundle_are_noticed(made, tmp_path):
    folder = tmp_path / "here"
    zipfile.ZipFile(made.path).extractall(folder)
    (folder / "lpgnet" / "__pycache__").mkdir()
    (folder / "lpgnet" / "__pycache__" / "config.cpython-311.pyc").write_bytes(b"x")
    (folder / "empty").mkdir()
    (folder / "to").symlink_to(tmp_path)
    (folder / "LICENSE").rename(tmp_path / "LICENSE")
    (folder / "LICENSE").symlink_to(tmp_path / "LICENSE")
    (folder / "README.md").unlink()
    os.mkfifo(folder / "README.md")
    extra = ["empty/", "lpgnet/__pycache__/config.cpython-311.pyc", "to"]
    want = [*(f"extra: {name}" for name in extra), "bad: LICENSE", "bad: README.md"]
    for path in (folder, folder / "__main__.py"):
        code, said = check(path)
        assert code == 1 and said[:-1] == want


def test_python_s_own_copy_of_the_check_is_known_by_what_it_holds(made, tmp_path):
    zipfile.ZipFile(made.path).extractall(tmp_path)
    assert [check(tmp_path)[0] for _ in range(2)] == [0, 0]
    (kept,) = (tmp_path / "__pycache__").iterdir()
    kept.write_bytes(kept.read_bytes()[:16] + marshal.dumps(compile("print('well')", "x", "exec")))
    assert check(tmp_path / "__main__.py")[1][0] == f"extra: __pycache__/{kept.name}"


def test_a_copy_from_elsewhere_checks_too(made, tmp_path):
    own = ROOT / "lpgnet" / "beyond" / "archive" / "verify.py"
    (tmp_path / "none.zip").write_bytes(b"PK")
    for path, code in ((made.path, 0), (tmp_path / "none.zip", 1), (tmp_path / "gone", 1)):
        done = subprocess.run([sys.executable, str(own), str(path)], capture_output=True, text=True)
        assert done.returncode == code and not done.stderr


def test_a_bundle_that_would_unpack_to_gigabytes_is_not_read(made, tmp_path, monkeypatch):
    """Only sizes that a zip says of itself are looked at; nothing is unpacked to find out."""
    monkeypatch.setattr(verify, "LARGEST", 1000)
    monkeypatch.setattr(verify.Archive, "read", lambda *_: pytest.fail("it was read"))
    with verify.Archive(made.path) as archive:
        assert [line.partition(":")[0] for line in verify.problems(archive)] == ["unpacks to 0 GiB"]


def test_a_flipped_bit_is_noticed(made, tmp_path):
    with zipfile.ZipFile(made.path) as opened:
        entry = next(i for i in opened.infolist() if i.filename.endswith(".parquet"))
    content = bytearray(made.path.read_bytes())
    content[entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2] ^= 4
    (tmp_path / "x.zip").write_bytes(content)
    code, said = check(tmp_path / "x.zip")
    assert code == 1 and said[0] == f"bad: {entry.filename}"


def test_an_unpacked_bundle_is_checked_too_and_its_links_work(made, tmp_path):
    folder = tmp_path / "here"
    zipfile.ZipFile(made.path).extractall(folder)
    assert check(folder)[0] == 0
    report = folder / "results" / "simulated" / "report" / "index.html"
    links = re.findall(r'<a href="([^"#:]+)"', report.read_text())
    assert len(links) > 20 and all((report.parent / to).exists() for to in links)
    (folder / "README.txt").unlink()
    assert check(folder) == (1, ["missing: README.txt", check(folder)[1][-1]])


def test_records_tables_versions_are_in_it_and_data_are_not(made):
    names = zipfile.ZipFile(made.path).namelist()
    assert len([n for n in names if "/runs/" in n and n.endswith(".json")]) == 15  # 7 x 2, and data.json
    assert {"requirements.lock", "lpgnet/model.py", "lpgnet/beyond/report/page.css", "README.txt"} <= set(names)
    assert {f"paper_tables/simulated/table{n}.csv" for n in range(1, 8)} <= set(names)
    assert {"results/simulated/claims.csv", "results/simulated/notebooks/06_paper_tables.html"} <= set(names)
    assert "results/simulated/figures/attention.png" in names
    assert not [n for n in names if re.search(r"features/|checkpoints|\.npz|\.wav|safetensors$|/labels/", n)
                and not n.startswith("lpgnet/")]  # fmt: skip
    about = json.loads(zipfile.ZipFile(made.path).read("bundle.json"))
    assert about["facts"]["Records"] == "14 used, 0 stale and not used"
    assert len(about["facts"]["Labels majority-4"].split()[-1]) == 64


def test_equal_input_equal_bytes(place, made, tmp_path):
    again = bundle.write(place, tmp_path / "other.zip")
    assert again.path.read_bytes() == made.path.read_bytes()
    assert again.manifest == made.manifest
    entries = zipfile.ZipFile(made.path).infolist()
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    names = [entry.filename for entry in entries]
    assert names == [*sorted(names[:-1]), "MANIFEST.sha256"]  # not in the order that a disk lists them


def test_stale_records_stay_out_and_damaged_ones_stop_it(place, tmp_path):
    kept = dataclasses.replace(place, output=tmp_path / "copy")
    shutil.copytree(place.output, kept.output)
    source = next(kept.runs.glob("linear/0-*.json"))
    stale = dataclasses.replace(records.read(source), key="f" * 64)
    stale = dataclasses.replace(stale, sha256=records.fingerprint(stale))
    (kept.runs / "linear" / "0-ffffffff.json").write_text(json.dumps(dataclasses.asdict(stale)))
    shutil.copy(source.with_suffix(".parquet"), kept.runs / "linear" / "0-ffffffff.parquet")
    page.write(kept)
    found = bundle.write(kept, tmp_path / "x.zip")
    assert found.left_out == ["stale: linear/0-ffffffff.json"]
    assert not [n for n in zipfile.ZipFile(found.path).namelist() if "ffffffff" in n]
    source.with_suffix(".parquet").write_bytes(b"")
    refused(bundle.write, kept, tmp_path / "y.zip", says="damaged")
    assert not (tmp_path / "y.zip").exists()


def test_a_page_with_the_words_of_a_licensed_corpus_stays_out(place, tmp_path):
    said = "I have never seen the house so empty"
    own = dataclasses.replace(place, corpus="iemocap", output=tmp_path)
    own.features.mkdir(parents=True)
    pd.DataFrame({"id": ["a"], "text": [said], "scripted": [False], "start": [0.0], "end": [1.0]}).assign(
        dialogue="d", order=0, speaker="", party="", session=1, wav="", label="xxx", votes="", line=0, part=""
    ).to_csv(own.features / "utterances.csv", index=False)
    openings = bundle._openings(own)
    assert openings == {("i", "have", "never", "seen", "the", "house")}
    own.notebooks.mkdir(parents=True)
    quoting, plain = own.notebooks / "06_paper_tables.html", own.notebooks / "05_six_class.html"
    quoting.write_text("<td>I have never&#32;seen <b></b>the house so empty</td>".replace(" <b></b>", " "))
    plain.write_text("<td>I have seen the house</td>" + "A" * 300)
    assert bundle._quotes(own, quoting, openings)
    assert not bundle._quotes(own, plain, openings)
    assert bundle._quotes(own, own.notebooks / "01_feature_extraction.html", openings)


def test_a_report_that_is_not_up_to_date_stops_it(place, tmp_path):
    kept = dataclasses.replace(place, output=tmp_path / "copy")
    shutil.copytree(place.output, kept.output)
    page.path_of(kept).unlink()
    refused(bundle.write, kept, tmp_path / "x.zip", says="run `python -m lpgnet report --corpus simulated` first")


def test_the_command_says_what_it_wrote(place, tmp_path):
    done = lpgnet(place.output, "bundle", "--out", str(tmp_path / "x.zip"))
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path / 'x.zip'}: " in done.stdout and "To check it: python x.zip" in done.stdout
    assert check(tmp_path / "x.zip")[0] == 0


@pytest.fixture
def issues(monkeypatch, tmp_path):
    """What roc-validator has against an unpacked bundle, without a network."""
    import requests
    from rocrate_validator import models, services
    from rocrate_validator.utils.http import HttpRequester

    def get(_, url, **options):
        assert url == "https://w3id.org/ro/crate/1.1/context"
        page = requests.Response()
        page.status_code, page.headers["Content-Type"] = 200, "application/ld+json"
        page._content = json.dumps({"@context": TERMS}).encode()
        return page

    def found(folder, severity: str) -> list[str]:
        settings = services.ValidationSettings(
            rocrate_uri=str(folder),
            profile_identifier="process-run-crate",
            requirement_severity=models.Severity[severity],
            offline=True,
            cache_path=tmp_path / "cache",
        )
        return [issue.message for issue in services.validate(settings).get_issues()]

    monkeypatch.setattr(HttpRequester, "get", get, raising=False)
    return found


def described(path) -> dict[str, dict]:
    """Address -> entity of a bundle's crate."""
    crate = json.loads(zipfile.ZipFile(path).read("ro-crate-metadata.json"))
    return {one["@id"]: one for one in crate["@graph"]}


def addresses(value) -> set[str]:
    return {one["@id"] for one in (value if isinstance(value, list) else [value])}


def test_the_crate_is_valid_by_roc_validator(made, issues, tmp_path):
    zipfile.ZipFile(made.path).extractall(tmp_path / "here")
    assert issues(tmp_path / "here", "REQUIRED") == []
    assert set(issues(tmp_path / "here", "RECOMMENDED")) == set(WANTED)


@pytest.mark.parametrize(
    ("address", "lacks"),
    [("#run-02", "instrument"), ("./", "conformsTo"), ("./", "datePublished"), ("./", "license")],
)
def test_the_validator_notices_what_a_crate_lacks(made, issues, tmp_path, address, lacks):
    zipfile.ZipFile(made.path).extractall(tmp_path / "here")
    path = tmp_path / "here" / "ro-crate-metadata.json"
    crate = json.loads(path.read_text())
    (one,) = (e for e in crate["@graph"] if e["@id"] == address)
    del one[lacks]
    path.write_text(json.dumps(crate))
    assert issues(tmp_path / "here", "REQUIRED")


def test_each_notebook_that_ran_is_an_action_with_what_it_read_and_made(made):
    entities = described(made.path)
    actions = {name: one for name, one in entities.items() if one["@type"] == "CreateAction"}
    assert list(actions) == [f"#run-{name[:2]}" for name in RAN]
    assert addresses(entities["./"]["mentions"]) == set(actions)
    runs = "results/simulated/runs/"
    results = {name: addresses(one["result"]) for name, one in actions.items()}
    records = {name: {r.removeprefix(runs) for r in made if r.startswith(runs)} for name, made in results.items()}
    assert records["#run-02"] == {"full/", "linear/"}
    assert records["#run-04"] == {"sdt/", "sdt_no_speaker/", "full_speaker/"}  # `full` was there already
    assert not records["#run-06"] and "paper_tables/simulated/" in results["#run-06"]
    assert len({r for r in addresses(actions["#run-06"]["object"]) if r.startswith(runs)}) == 7
    assert "results/simulated/efficiency.csv" in results["#run-04"]
    for name, one in zip(RAN, actions.values(), strict=True):
        assert one["instrument"] == {"@id": f"notebooks/{name}.ipynb"} and one["agent"] == {"@id": "#lpgnet"}
        assert f"results/simulated/notebooks/{name}.ipynb" in addresses(one["result"])
        assert one["startTime"] == "2026-01-02T03:04:05+00:00" and "endTime" not in one


def test_the_crate_names_what_is_there_and_says_what_it_is_of(made):
    entities, names = described(made.path), zipfile.ZipFile(made.path).namelist()
    folders = {f"{name.rpartition('/')[0]}/" for name in names}
    parts = addresses(entities["./"]["hasPart"])
    assert parts <= {*names, *folders} and "MANIFEST.sha256" in parts
    assert {name for name in names if "/" not in name} - parts == {"ro-crate-metadata.json"}
    named = re.findall(r'"@id": "([^"]+)"', json.dumps(list(entities.values())))
    assert set(named) - entities.keys() == {"https://w3id.org/ro/crate/1.1"}
    root = entities["./"]
    assert SIMULATED in root["description"]
    assert f"date-released: {root['datePublished']}\n" in (ROOT / "CITATION.cff").read_text()
    assert ", ".join(swhids()) in entities["#lpgnet"]["description"]


def test_a_dirty_checkout_is_no_identifier(monkeypatch, place):
    data = records.read_data(place.runs)
    clean = ("swh:1:rev:a", "swh:1:dir:b", "swh:1:dir:c")
    for said, known in ((clean, list(clean)), ((*clean, "dirty"), None), (("unknown",), None)):
        monkeypatch.setattr(crate, "swhids", lambda said=said: said)
        graph = json.loads(crate.metadata(place, data, ["README.md"]))["@graph"]
        (software,) = (one for one in graph if one["@id"] == "#lpgnet")
        assert software.get("identifier") == known and software["description"].endswith(said[-1])
