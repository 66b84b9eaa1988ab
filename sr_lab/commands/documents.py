"""Make pages of print, or of QR and bar codes, with a known truth, in several sizes: a benchmark for tasks.

    srlab documents output=documents count=20
    srlab documents output=codes kind=codes 'sizes=[2,3,4,6,8]'
    srlab evaluate restorer=edge benchmark=documents scale=4 'tasks=[ocr]' report=out missing=skip

Each content is there in every size (sizes=: the font's height, of codes the side of a module, in pixels). Fonts are
those that matplotlib ships; the same seed makes the same pages.
"""

from omegaconf import DictConfig

from sr_lab.config.call import called
from sr_lab.config.words import counted
from sr_lab.workflows.documents import documents


def run(cfg: DictConfig) -> int:
    """Makes the pages that ``cfg`` asks for."""
    made = called(documents, cfg)
    print(f"{counted(made.num_pages, 'page')} of {counted(made.num_documents, 'document')}: {made.folder}")
    return 0
