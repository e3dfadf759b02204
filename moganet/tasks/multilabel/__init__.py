"""Multi-label classification: any number of classes an image, none among them."""

from moganet.tasks.multilabel.task import Multilabel

TASK = Multilabel()
