"""The bundle: what is in it, what must not be, and that it notices whatever was done to it."""

import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile

import pandas as pd
import pytest
from conftest import lpgnet
from test_report import filled

from lpgnet import places
from lpgnet.beyond.archive import bundle
from lpgnet.beyond.report import page


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    made = dataclasses.replace(places.place(), output=tmp_path_factory.mktemp("bundle"))
    filled(made)
    made.notebooks.mkdir()
    for name in ("01_feature_extraction", "06_paper_tables"):
        (made.notebooks / f"{name}.html").write_text("<p>ran</p>")
    page.write(made)
    return made


@pytest.fixture(scope="module")
def made(place):
    return bundle.write(place, place.output / "out" / "simulated.zip")


def check(path) -> tuple[int, list[str]]:
    """Python without our package, as a stranger has it."""
    done = subprocess.run(
        [sys.executable, "-I", str(path)], capture_output=True, text=True, cwd=path.parent, env={}
    )
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
    assert {"requirements.lock", "lpgnet/model.py", "lpgnet/beyond/report/page.css", "README.txt"} <= set(
        names
    )
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
    stale = json.loads(source.read_text()) | {"key": "f" * 64}
    (kept.runs / "linear" / "0-ffffffff.json").write_text(json.dumps(stale))
    shutil.copy(source.with_suffix(".parquet"), kept.runs / "linear" / "0-ffffffff.parquet")
    page.write(kept)
    found = bundle.write(kept, tmp_path / "x.zip")
    assert found.left_out == ["stale: linear/0-ffffffff.json"]
    assert not [n for n in zipfile.ZipFile(found.path).namelist() if "ffffffff" in n]
    source.with_suffix(".parquet").write_bytes(b"")
    with pytest.raises(ValueError, match="damaged"):
        bundle.write(kept, tmp_path / "y.zip")
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
    with pytest.raises(FileNotFoundError, match="run `python -m lpgnet report --corpus simulated` first"):
        bundle.write(kept, tmp_path / "x.zip")


def test_the_command_says_what_it_wrote(place, tmp_path):
    done = lpgnet(place.output, "bundle", "--out", str(tmp_path / "x.zip"))
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path / 'x.zip'}: " in done.stdout and "To check it: python x.zip" in done.stdout
    assert check(tmp_path / "x.zip")[0] == 0
