"""The paper's Eqs. (2)-(22) as it prints them, and the readings of the code beside them."""

import re
from pathlib import Path

from lpgnet.config import ROOT

EQUATIONS: dict[str, tuple[str, tuple[int, ...]]] = {  # number -> LaTeX, our readings of it
    "2": (r"\mathbf{X}'_s = \mathrm{Conv1D}(\mathbf{X}_s), \quad s \in \{t, a\}", (1, 24)),
    "3": (
        r"\mathrm{Attention}(Q, K, V) = \mathrm{Softmax}\left(\dfrac{Q K^{\top}}{\sqrt{d}}\right) V",
        (2,),
    ),
    "4": (
        r"\mathbf{S}_{i,j} = \dfrac{\mathbf{Q}_i \cdot \mathbf{K}_j}{\sqrt{d}} \; \text{where} \; "
        r"\mathbf{M}_{i,j} = 1, \quad -10^{9} \; \text{otherwise}",
        (),
    ),
    "5": (r"\mathbf{A} = \mathrm{Softmax}(\mathbf{S})", ()),
    "6": (r"\mathbf{A}_{\text{conv}} = \mathrm{Conv2D}(\mathrm{Mean}(\hat{\mathbf{A}}))", (3, 4)),
    "7": (
        r"\mathrm{FFN}(x) = \mathbf{W}_2(\mathrm{Dropout}(\mathrm{GELU}(\mathbf{W}_1 \cdot "
        r"\mathrm{LayerNorm}(x))))",
        (5, 22),
    ),
    "8": (
        r"\mathbf{X}_{\text{final}} = \mathbf{Q} + \mathbf{A}_{\text{conv}} + "
        r"\mathrm{FFN}(\mathbf{A}_{\text{conv}})",
        (6,),
    ),
    "9": (
        r"\mathbf{Z} = \sigma(\mathbf{W}_g \mathbf{H}), \quad "
        r"\mathbf{H}_{\text{gated}} = \mathbf{Z} \odot \mathbf{H}",
        (22,),
    ),
    "10": (
        r"\mathbf{H}_t = \mathrm{GatedFusion}(\mathbf{X}_{tt}), \quad "
        r"\mathbf{H}_{at} = \mathrm{GatedFusion}(\mathbf{X}_{at})",
        (7,),
    ),
    "11": (
        r"\mathbf{H}_a = \mathrm{GatedFusion}(\mathbf{X}_{aa}), \quad "
        r"\mathbf{H}_{ta} = \mathrm{GatedFusion}(\mathbf{X}_{ta})",
        (7,),
    ),
    "12": (
        r"\mathbf{T}_{\text{fused}} = \mathrm{Linear}([\mathbf{H}_t; \mathbf{H}_{at}]), \quad "
        r"\mathbf{A}_{\text{fused}} = \mathrm{Linear}([\mathbf{H}_a; \mathbf{H}_{ta}])",
        (7,),
    ),
    "13": (
        r"\alpha_T = \mathrm{Softmax}(\mathbf{W} \mathbf{T}_{\text{fused}}), \quad "
        r"\alpha_A = \mathrm{Softmax}(\mathbf{W} \mathbf{A}_{\text{fused}})",
        (8, 16),
    ),
    "14": (
        r"\mathbf{F}_{\text{final}} = \alpha_T \cdot \mathbf{T}_{\text{fused}} + "
        r"\alpha_A \cdot \mathbf{A}_{\text{fused}}",
        (),
    ),
    "15": (r"\mathbf{E} = \mathbf{W}_c \cdot \mathbf{F}_{\text{final}} + \mathbf{b}_c", ()),
    "16": (r"\hat{\mathbf{Y}} = \mathrm{softmax}(\mathbf{E})", ()),
    "17": (
        r"\mathcal{L}_{\text{task}} = -\dfrac{1}{N} \sum_{i=1}^{N} \sum_{j=1}^{C} y_{i,j} \log \hat{y}_{i,j}",
        (11,),
    ),
    "18": (r"\mathbf{E}^m = \mathbf{W}'_m \cdot \mathrm{ReLU}(\mathbf{H}'_m) + \mathbf{b}'_m", (9, 17)),
    "19": (r"\hat{\mathbf{Y}}^m_{\tau} = \mathrm{softmax}(\mathbf{E}^m / \tau)", ()),
    "20": (
        r"\mathcal{L}^{m}_{\text{CE}} = -\dfrac{1}{N} \sum_{i=1}^{N} \sum_{j=1}^{C} "
        r"y_{i,j} \log \hat{y}^m_{i,j}",
        (11,),
    ),
    "21": (
        r"\mathcal{L}^{m}_{\text{KL}} = \dfrac{1}{N} \sum_{i=1}^{N} \sum_{j=1}^{C} \hat{y}^m_{\tau,i,j} "
        r"\log \dfrac{\hat{y}^m_{\tau,i,j}}{\hat{y}^{\text{teacher}}_{\tau,i,j}}",
        (10,),
    ),
    "22": (
        r"\mathcal{L} = \lambda_{\text{task}} \mathcal{L}_{\text{task}} + "
        r"\lambda_{\text{CE}} \sum_m \mathcal{L}^{m}_{\text{CE}} + "
        r"\lambda_{\text{KL}} \sum_m \mathcal{L}^{m}_{\text{KL}}",
        (),
    ),
}
STATED = re.compile(r"Reading R(\d+):\s*")


def readings(folder: Path = ROOT / "lpgnet") -> dict[int, list[tuple[str, str, str]]]:
    """Number of a reading -> what the code says wherever it takes that choice; the report's own files are not searched.

    That is the line of code that a comment stands at, the words, and file:line.
    """
    says: dict[int, list[tuple[str, str, str]]] = {}
    for path in sorted(folder.rglob("*.py")):
        if path.parent == Path(__file__).parent:
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        for at, line in enumerate(lines):
            where = f"{path.relative_to(folder.parent).as_posix()}:{at + 1}"
            for found in STATED.finditer(line):
                code = line.partition("#")[0].strip() if "#" in line[: found.start()] else ""
                says.setdefault(int(found[1]), []).append((code, _words(lines, at, found.end()), where))
    return dict(sorted(says.items()))


def _words(lines: list[str], at: int, start: int) -> str:
    """What follows "Reading Rn:", to the end of its comment or paragraph, or to the next reading."""
    text, comment = lines[at][start:], "#" in lines[at][:start]
    words, below = [text], lines[at + 1 :]
    if comment and not lines[at].lstrip().startswith("#"):
        below = []  # it stands behind code
    for line in below:
        text = line.strip()
        if '"""' in words[-1] or STATED.search(words[-1]) or not text or comment != text.startswith("#"):
            break
        words.append(text.lstrip("# "))
    said = STATED.split(" ".join(words))[0].partition('"""')[0]
    return " ".join(said.split())
