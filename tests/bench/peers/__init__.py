"""What the trainer is measured against, each in a process of its own, and how they are measured.

contest.py      runs contestants in turn, and says what they took
machine.py      what machine it was, and how much memory a tree of processes holds
camvid.py       the data: CamVid, extracted and separated by the project's own code
ours.py         `python -m train`, and what its events say
shipped.py      segmentation_models_pytorch with Lightning, as its CamVid notebook has it
tuned.py        the same, tuned by hand
plain.py        a loop without any framework, fp32
reference.py    a loop in the manner of torchvision's reference scripts, with or without AMP
ceiling.py      our model, loss and optimiser on tensors that lie in memory

The last five are programs with the same arguments (program.py), and end by writing what they
measured. They need the extra `bench`; nothing of the trainer needs them.
"""
