"""A trained LPGNet as a folder that anybody can load: safetensors, config and model card, never a pickle.

<folder>/
    model.safetensors   weights, and the mean and scale of each feature; its header carries their SHA-256
    config.json         what `Reader` is built from, and what it was trained on
    README.md           the model card
"""

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin, hf_hub_download
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lpgnet import __version__
from lpgnet.config import MODALITIES, DataConfig, LPGNetConfig
from lpgnet.features.loading import first_line, holding, read_json, refuse_misfit
from lpgnet.labels import OWN, PROTOCOLS
from lpgnet.machine.files import misfit, plain_string, whole_folder
from lpgnet.model import LPGNet
from lpgnet.places import Place
from lpgnet.runs import records
from lpgnet.runs.dataset import Dataset, Scaler, context_windows
from lpgnet.runs.model_card import card, origin
from lpgnet.runs.packed import Layout
from lpgnet.runs.plan import Job, planned

WEIGHTS, CONFIG = "model.safetensors", "config.json"
MISSING_BEST, WHOLE_BEST, ONLINE = "full_moddrop", "full", "past_full"  # which experiment reads what
PARTS = ("train", "validation")  # whose dialogues a model has seen


Word = Annotated[str, AfterValidator(lambda value: plain_string(value, "a word of it"))]


SEEN = {"sees": Literal["dialogue", "past"], "window": Annotated[int, Field(ge=0)]}  # of `DataConfig`


def _object(**fields) -> type[BaseModel]:
    """What a JSON object must have at least, and of which types."""
    return create_model("Config", __config__=ConfigDict(strict=True), **{n: (t, ...) for n, t in fields.items()})


CHECKED = _object(
    model=dict,
    sizes=Annotated[dict[Literal[MODALITIES], Annotated[int, Field(gt=0)]], Field(min_length=1)],
    classes=Annotated[list[Word], Field(min_length=2)],
    standardise=bool,
    encoders=dict[Literal[MODALITIES], _object(encoder=Word, version=Word, recipe=Word)],
    temperature=Annotated[float, Field(gt=0, allow_inf_nan=False)],
    validation=dict[Word, list[Annotated[float, Field(ge=0, le=1)]]],
    trained=_object(
        **dict.fromkeys(("corpus", "place", "experiment", "fold"), Word),
        labels=Literal[(*PROTOCOLS, OWN)],
        seed=int,
        dialogues=dict[Word, list[str]],
        config=_object(data=_object(text=Word | None, **SEEN), train=dict, loss=dict, model=dict),
    ),
)


class Reader(nn.Module, PyTorchModelHubMixin, library_name="lpgnet", tags=["emotion-recognition"]):
    """LPGNet with the scalers of its features and its temperature: vectors as extracted -> probabilities."""

    def __init__(
        self,
        model: dict,
        sizes: dict,
        classes: list,
        standardise: bool,
        encoders: dict,
        temperature: float,
        validation: dict,
        trained: dict,
    ):
        """model: of `RunConfig.as_dict`.  sizes, encoders: per modality.  validation, trained: see `save`."""
        super().__init__()
        self.sizes = {m: sizes[m] for m in MODALITIES if m in sizes}  # a sorted JSON has audio first
        self.encoders = {m: encoders[m] for m in self.sizes}
        self.classes, self.standardise = tuple(classes), standardise
        self.temperature, self.validation, self.trained = temperature, validation, trained
        if validation.keys() != set(classes):
            raise ValueError(f"validation is of {sorted(validation)}, the classes are {sorted(classes)}")
        data = trained["config"]["data"]
        self.reach = context_windows(DataConfig(sees=data["sees"], window=data["window"]))
        self.model = LPGNet(_shape(model), sizes, len(classes))
        for m, size in sizes.items():
            self.register_buffer(f"mean_{m}", torch.zeros(size))
            self.register_buffer(f"scale_{m}", torch.ones(size))
        self.eval()

    @torch.no_grad()
    def forward(self, rows: dict[str, Tensor], lengths: list[int] | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Calibrated probabilities (N, C), and per modality how much Eq. (14) takes of it, (N,).

        rows: per modality (N, F) as its encoder gives them, NaN where a turn lacks it (the training mean
        then).  lengths: of the conversations that the N turns make up; None: they are one.
        """
        got = {m: tuple(x.shape) for m, x in rows.items()}
        turns = next(iter(got.values()), (0,))[0]
        if got != {m: (turns, size) for m, size in self.sizes.items()} or not turns:
            raise ValueError(f"rows are {got}: want (N, F) with F {self.sizes}, N the same and at least 1")
        lengths = lengths or [turns]
        return self._read(rows, lengths) if self.reach is None else self._each(rows, lengths)

    def _each(self, rows: dict[str, Tensor], lengths: list[int]) -> tuple[Tensor, dict[str, Tensor]]:
        """What `forward` gives where a turn reads a part of its conversation: a sequence per turn."""
        sequences, asked = self.reach(list(torch.arange(sum(lengths)).split(lengths)))
        starts = torch.tensor([0, *(len(s) for s in sequences[:-1])]).cumsum(0)
        found = []
        for sequence, at in zip(sequences, (asked - starts).tolist(), strict=True):
            probability, weight = self._read({m: x[sequence] for m, x in rows.items()}, [len(sequence)])
            found.append((probability[at], {m: w[at] for m, w in weight.items()}))
        probabilities, weights = zip(*found, strict=True)
        return torch.stack(probabilities), {m: torch.stack([w[m] for w in weights]) for m in weights[0]}

    @torch.no_grad()
    def latest(self, rows: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """What `forward` gives of the last turn of a conversation, (1, C), (1,), of a causal model alone.

        The turns before it are read, but nothing is said of them again.
        """
        sequence = self.reach([torch.arange(len(next(iter(rows.values()))))])[0][-1]
        probability, weight = self._read({m: x[sequence] for m, x in rows.items()}, [len(sequence)])
        return probability[-1:], {m: w[-1:] for m, w in weight.items()}

    def _read(self, rows: dict[str, Tensor], lengths: list[int]) -> tuple[Tensor, dict[str, Tensor]]:
        """What the model gives of whole sequences."""
        layout = Layout(torch.tensor(lengths))
        seen = {m: layout.pad(self._prepared(m, x)) for m, x in rows.items()}
        output = self.model(seen, dict.fromkeys(seen, layout.valid))
        weight = {m: x[layout.valid] for m, x in output.modality_weight.items()}
        return (output.logits[layout.valid] / self.temperature).softmax(-1), weight

    def _prepared(self, modality: str, rows: Tensor) -> Tensor:
        scaler = Scaler(self.get_buffer(f"mean_{modality}"), self.get_buffer(f"scale_{modality}"))
        return scaler(rows) if self.standardise else scaler.filled(rows)

    @property
    def causal(self) -> bool:
        """Whether what a turn reads ends with itself."""
        return self.trained["config"]["data"]["sees"] == "past"

    @property
    def origin(self) -> str:
        """What every output of this model says of it."""
        return origin(self.trained)

    def part(self, corpus: str, dialogue: str) -> str:
        """ "train" or "validation" where the model has seen a dialogue there, else ""."""
        known = self.trained["dialogues"] if corpus == self.trained["corpus"] else {}
        return next((part for part in PARTS if dialogue in known.get(part, ())), "")

    def _save_pretrained(self, save_directory: Path) -> None:
        tensors = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        save_file(tensors, save_directory / WEIGHTS, {"sha256": _digest(tensors)})  # several come in any order

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        **config,
    ) -> "Reader":
        """Every weight must be there and fit; a pickle is read nowhere, not from a hub either."""
        path = Path(model_id) / WEIGHTS
        if not Path(model_id).is_dir():
            options = {"revision": revision, "cache_dir": cache_dir, "force_download": force_download}
            options |= {"local_files_only": local_files_only, "token": token}
            path = Path(hf_hub_download(model_id, WEIGHTS, **options))
        with torch.device("meta"):  # a config may ask for any size: only what the file holds takes memory
            reader = _built(path.with_name(CONFIG), config)
        reader.load_state_dict(_tensors(path, reader), assign=True)
        return reader

    def generate_model_card(self, *args, **kwargs) -> ModelCard:
        head = self._hub_mixin_info.model_card_data.to_yaml()
        return ModelCard(f"---\n{head}\n---\n\n{card(self)}")


def save(
    folder: Path, job: Job, dataset: Dataset, weights: dict, temperature: float, validation: dict, data: dict
) -> None:
    """Write the checkpoint of a run, whole or not at all.

    weights: the model's state at its best validation epoch.  validation: as its record has it.  data: as
    `plan.describe` gives it.
    """
    dialogues = dataset.table["dialogue"]
    seen = {p: sorted({dialogues.iat[int(unit[0])] for unit in dataset.units[p]}) for p in PARTS}
    reader = Reader(
        model=job.run.as_dict()["model"],
        sizes=dict(dataset.sizes),
        classes=list(dataset.classes),
        standardise=dataset.standardise,
        encoders={m: {k: e[k] for k in ("encoder", "version", "recipe")} for m, e in job.features.items()},
        temperature=float(temperature),
        validation=validation,
        trained={name: data[name] for name in ("corpus", "place", "profile", "split")}
        | {name: getattr(job, name) for name in ("experiment", "labels", "fold", "seed", "key")}
        | {"config": job.run.as_dict(), "dialogues": seen, "version": __version__},
    )
    reader.model.load_state_dict(weights)
    for m, scaler in dataset.scalers.items():
        reader.get_buffer(f"mean_{m}").copy_(scaler.mean)
        reader.get_buffer(f"scale_{m}").copy_(scaler.scale)
    with whole_folder(folder) as part:
        reader.save_pretrained(part)


def load(folder: Path) -> Reader:
    """The checkpoint in a folder; no network, and one clear error where it is none or is damaged."""
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"no checkpoint {folder}: give the folder that holds {CONFIG} and {WEIGHTS}")
    lacking = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if lacking:
        raise FileNotFoundError(
            f"{folder} is no checkpoint: it lacks {' and '.join(lacking)}, it holds {holding(folder)}"
        )
    read_json(folder / CONFIG)  # names the file where it is no JSON
    return Reader.from_pretrained(folder, local_files_only=True)


def choose_checkpoint(place: Place, dialogue: str | None = None, lacking: bool = False, online: bool = False) -> Path:
    """The folder of the checkpoint that a place has for a conversation.

    lacking: some turn has no text or no audio, so `full_moddrop` is wanted, else `full`; the other one where
    there is none.  online: `past_full`, whose turns read nothing that comes after them.  Among seeds and folds:
    one that hasn't seen the dialogue, then the fold that tests Session 5, then the lowest seed.  Checkpoints of
    stale records don't count.
    """
    order = (MISSING_BEST, WHOLE_BEST) if lacking else (WHOLE_BEST, MISSING_BEST)
    order = (ONLINE,) if online else order
    for experiment in order:
        found = current_checkpoints(place, experiment)
        if found:
            return min(found, key=lambda folder: _preference(read_json(folder / CONFIG)["trained"], dialogue))
    made_by = "07" if online else "08"
    raise FileNotFoundError(
        f"no checkpoint of {' or '.join(order)} in {place.checkpoints}: run notebook {made_by}, or give --checkpoint"
    )


def current_checkpoints(place: Place, experiment: str) -> list[Path]:
    """The folders of an experiment's checkpoints whose runs are today's."""
    found = {path.parent.name: path.parent for path in (place.checkpoints / experiment).glob(f"[!.]*/{CONFIG}")}
    if not found:
        return []
    seeds = 1 + max(int(name.partition("-")[0]) for name in found)
    jobs = planned(place, records.read_data(place.runs), [experiment], seeds)
    return [found[job.path.stem] for job in jobs if job.path.stem in found]


def _preference(trained: dict, dialogue: str | None) -> tuple:
    seen = any(dialogue in names for names in trained["dialogues"].values())
    return seen, trained["fold"] != "session5", trained["fold"], trained["seed"]


def _shape(model: dict) -> LPGNetConfig:
    """The configuration of a model from plain JSON types."""
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in model.items()}
    kind = values.pop("kind")
    if kind != "LPGNet" or values.get("speakers"):
        raise ValueError(
            f"a model of kind {kind}{' with speakers' * bool(values.get('speakers'))}: want LPGNet without"
        )
    return TypeAdapter(LPGNetConfig).validate_python(values)


def _built(path: Path, config: dict) -> Reader:
    """The reader that a config.json describes; a ValueError names the file where it describes none."""
    wanted = [name for name in Reader._hub_mixin_init_parameters if name != "self"]
    lacking = [name for name in wanted if name not in config]
    if lacking == ["validation"]:
        raise ValueError(
            f"{path} was saved before checkpoints had validation, so it can't say how sure it is: delete its folder "
            "and the record of its run, which has the same name below runs/, and run notebook 08"
        )
    if lacking:
        raise ValueError(f"{path} is not of an LPGNet checkpoint: it lacks {', '.join(lacking)}")
    try:
        CHECKED.model_validate(config)
        return Reader(**{name: config[name] for name in wanted})
    except ValidationError as error:
        raise ValueError(f"{path} describes no LPGNet: {misfit(error)}") from None
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{path} describes no LPGNet ({first_line(error)}); save the checkpoint again") from None


def _tensors(path: Path, reader: Reader) -> dict[str, Tensor]:
    """The weights of a file, all that the reader wants, as they were written."""
    wanted, version = reader.state_dict(), reader.trained.get("version")
    try:
        with safe_open(path, "pt") as file:
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
            written = (file.metadata() or {}).get("sha256")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is no safetensors file, or a damaged one ({first_line(error)})") from None
    shapes = {name: (found[name].shape, t.shape) for name, t in wanted.items() if name in found}
    if version != __version__ and found.keys() != wanted.keys():
        raise ValueError(
            f"{path} was saved by lpgnet {version}, whose weights have other names than {__version__}'s: "
            "make it anew with `python -m lpgnet reproduce --only 01,08` and the options of its corpus"
        )
    refuse_misfit(path, wanted.keys() - found, {n: s for n, s in shapes.items() if s[0] != s[1]}, found.keys() - wanted)
    if written != _digest(found):
        raise ValueError(f"{path} has other weights than were written into it; fetch or train it again")
    return {name: found[name].to(t.dtype) for name, t in wanted.items()}


def _digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names and bytes of all tensors."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        sha.update(name.encode() + tensors[name].cpu().numpy().tobytes())
    return sha.hexdigest()
