"""What organic-xs is trained on: molecules, clusters and reaction-like paths.

Everything is a SMILES string. The split of a molecule is fixed here, by the list it stands in,
and never drawn at random, so that a molecule never moves between splits from run to run.
"""

from __future__ import annotations

from rdkit import Chem
from rdkit.Chem.MolStandardize import rdMolStandardize

# Molecules kept out of the data on purpose: users tune the potential on these later, so none of
# their tautomers may appear either (conformers follow, as they share the SMILES).
EXCLUDED = (
    "CCO",
    "CC(=O)CC(C)=O",
    "CC(=O)C=C(C)O",
    "Nc1ncccc1OCc1ccccc1",
    "N=c1[nH]cccc1OCc1ccccc1",
)

# Up to five atoms or so: cheap, and the only place for some bond types (H-H, C#O, ...).
TINY = (
    "[H][H]", "N#N", "[C-]#[O+]", "O=C=O", "O", "N", "C", "C#N", "C#C", "C=C", "OO",
    "[N-]=[N+]=O", "N=C=O", "C=O", "CO", "CC", "NN", "N=N", "NO", "N=O", "ON=O", "O[N+](=O)[O-]",
    "C=C=O", "C=N", "OC=O", "NC=O", "C=[N+]=[N-]", "N=[N+]=[N-]", "OC#N", "NC#N", "C#CC#C",
    "N#CC#N", "O=CC=O", "C=C=C", "C[N+]#[C-]", "C=NO", "[C-]#[NH+]", "O=C=C=C=O",
)  # fmt: skip

TRAIN = (
    # alkanes, alkenes, alkynes
    "CCC", "CC(C)C", "CCCCC", "CC(C)(C)C", "C=CC", "C=CC=C", "CC(C)=C", "C/C=C/C", "C(/C)=C/C",
    "C#CC", "C#CCC", "C=CC#C", "C=C=CC", "C=CCC=C", "CCCCCC",
    # alcohols, ethers, glycols
    "CC(C)O", "CC(C)(C)O", "C=CCO", "C#CCO", "COC", "CCOC", "OCCO", "OCO", "COCO", "COCOC",
    "OCC(O)CO", "CC(O)CO", "COCCOC", "C=COC", "COO", "COOC", "CCOCC",
    # aldehydes, ketones, ketenes
    "CC=O", "CCC=O", "CC(C)=O", "C=CC=O", "OCC=O", "CC(=O)C=O", "CC(=O)C(C)=O", "C=CC(C)=O",
    "CC=C=O", "COCC=O", "CC(=O)CO", "C#CC=O",
    # enols and 1,3-dicarbonyl-like motifs
    "C=CO", "C=C(C)O", "O=CCC=O", "OC=CC=O", "NC=CC=O", "O=CCC(=O)O", "NC(=O)CC=O", "COC=CC=O",
    "N=CC=CO",
    # acids, esters, anhydrides, carbonates
    "CC(=O)O", "COC=O", "CCC(=O)OC", "OC(=O)C(=O)O", "OCC(=O)O", "C=CC(=O)O", "OC(=O)O",
    "COC(=O)O", "O=COC=O", "CC(=O)OC=C", "CCOC=O", "CC(=O)C(=O)O",
    # amines, hydrazines, hydroxylamines
    "CN", "CNC", "CN(C)C", "CCN", "C=CCN", "NCCN", "NCCO", "CNN", "CNO", "CON", "CCNCC", "NCO",
    "C=CN",
    # amides, ureas, carbamates, imides
    "CC(N)=O", "CNC=O", "CN(C)C=O", "CN(C)C(C)=O", "NC(N)=O", "NC(=O)O", "NC(=O)OC", "NC(=O)C=O",
    "O=CNC=O", "NNC=O", "NC(=O)C(N)=O", "CC(=O)NC=C", "C=CC(N)=O", "ONC=O",
    # nitriles, imines, oximes, amidines, azo, azides, isocyanates, nitro, nitrites
    "CC#N", "C=CC#N", "OCC#N", "NCC#N", "N#CCC#N", "CC=N", "CC(C)=N", "C=NC", "CC=NO", "NC=N",
    "NC(N)=N", "CN=C=O", "CN=NC", "CN=[N+]=[N-]", "C[N+](=O)[O-]", "CON=O", "CO[N+](=O)[O-]",
    "C=C[N+](=O)[O-]", "CN=O", "N=CO", "N=CC=N", "CN=C=NC", "O=CC#N", "N=C=N",
    # aromatic rings
    "c1ccccc1", "c1ccncc1", "c1cc[nH]c1", "c1ccoc1", "c1c[nH]cn1", "c1cnccn1", "c1ccnnc1",
    "c1cncnc1", "c1cn[nH]c1", "c1cocn1", "c1conc1", "c1nc[nH]n1", "c1ncncn1",
    "Oc1ccccc1", "Nc1ccccc1", "Cc1ccccc1", "O=c1cccc[nH]1", "Oc1ccccn1", "Oc1cccnc1",
    "Nc1ccccn1", "Nc1cccnc1", "COc1cccnc1", "COc1ccccn1", "Cc1ccccn1", "COc1ccccc1",
    "OCc1ccccc1", "COCc1ccccc1", "NCc1ccccc1", "O=Cc1ccccc1", "N#Cc1ccccc1", "Nc1ncccc1O",
    "Nc1ncccn1", "Oc1ccccc1O", "O=c1cc[nH]c(=O)[nH]1", "Nc1cc[nH]c(=O)n1", "C=Cc1ccccc1",
    "OCc1ccco1", "Cc1c[nH]cn1", "O=C1C=CC(=O)C=C1", "N=c1cccc[nH]1",
    # small and saturated rings
    "C1CC1", "C1CO1", "C1CN1", "C1CCC1", "C1CCCC1", "C1CCCCC1", "C1CCOC1", "C1CCNC1", "C1COC1",
    "C1CNC1", "C1=CC1", "C1=CCC1", "C1=CCCC1", "C1=CCC=C1", "C1COCCN1", "O=C1CCC1", "O=C1CCO1",
    "O=C1CCCN1", "C=C1CC1", "CC1CC1", "C1COCO1", "C1=CCCCC1", "O=C1CC1",
    # amino acids, small polyfunctional molecules
    "NCC(=O)O", "C[C@H](N)C(=O)O", "NCC(N)=O", "NCC=O", "CNCC(=O)O", "N[C@@H](CO)C(=O)O",
    "CC(=O)NCC=O",
)  # fmt: skip

# Unseen in training: everyday members of the chemistry above.
TEST = (
    "CCCO", "CNC(C)=O", "COC(C)=O", "CCC(C)=O", "Cc1cccnc1", "CCC#N", "CCNC", "C=CCC", "COCCO",
    "Cc1ccccc1O",
)  # fmt: skip

# Unseen in training as well, sampled like training data: a measure of what tuning forgets.
FORGETTING = (
    "CCCC", "Cn1cccc1", "CCC(=O)O", "CNC(N)=O", "CC#CC", "CC(C)=NO", "CC1CO1", "CC(C)N",
)  # fmt: skip

# Name and members. Members are train molecules.
CLUSTERS = {
    "water2": ("O", "O"), "water3": ("O",) * 3, "water4": ("O",) * 4, "water5": ("O",) * 5,
    "water6": ("O",) * 6, "water8": ("O",) * 8,
    "water-methanol": ("O", "CO"), "water2-methanol": ("O", "O", "CO"),
    "methanol2": ("CO", "CO"), "methanol3": ("CO", "CO", "CO"),
    "water-ammonia": ("O", "N"), "water2-ammonia": ("O", "O", "N"), "ammonia2": ("N", "N"),
    "ammonia3": ("N", "N", "N"), "ammonia-methanol": ("N", "CO"), "water-methane": ("O", "C"),
    "methane2": ("C", "C"), "methane3": ("C",) * 3, "ethane2": ("CC", "CC"),
    "ethene2": ("C=C", "C=C"), "ethyne2": ("C#C", "C#C"), "ethyne-water": ("C#C", "O"),
    "propane2": ("CCC", "CCC"), "benzene-methane": ("c1ccccc1", "C"),
    "benzene-water": ("c1ccccc1", "O"), "benzene2": ("c1ccccc1", "c1ccccc1"),
    "benzene-ammonia": ("c1ccccc1", "N"), "pyridine-water": ("c1ccncc1", "O"),
    "pyridine-methanol": ("c1ccncc1", "CO"), "pyridine-formicacid": ("c1ccncc1", "OC=O"),
    "pyridine2": ("c1ccncc1", "c1ccncc1"), "phenol-water": ("Oc1ccccc1", "O"),
    "aniline-water": ("Nc1ccccc1", "O"), "pyridone-water": ("O=c1cccc[nH]1", "O"),
    "pyridone2": ("O=c1cccc[nH]1", "O=c1cccc[nH]1"), "anisole-water": ("COc1ccccc1", "O"),
    "aminopyridine-water": ("Nc1ccccn1", "O"), "imidazole2": ("c1c[nH]cn1", "c1c[nH]cn1"),
    "imidazole-water2": ("c1c[nH]cn1", "O", "O"), "pyrrole-ammonia": ("c1cc[nH]c1", "N"),
    "formicacid2": ("OC=O", "OC=O"), "formicacid-water": ("OC=O", "O"),
    "formicacid-water2": ("OC=O", "O", "O"), "aceticacid2": ("CC(=O)O", "CC(=O)O"),
    "aceticacid-water": ("CC(=O)O", "O"), "formicacid-methylamine": ("OC=O", "CN"),
    "formamide2": ("NC=O", "NC=O"), "formamide-water": ("NC=O", "O"),
    "formamide-water2": ("NC=O", "O", "O"), "acetamide-water": ("CC(N)=O", "O"),
    "formamide-formicacid": ("NC=O", "OC=O"), "urea-water": ("NC(N)=O", "O"),
    "glycine-water": ("NCC(=O)O", "O"), "formaldehyde-water": ("C=O", "O"),
    "formaldehyde2": ("C=O", "C=O"), "acetone-water": ("CC(C)=O", "O"),
    "acetonitrile-water": ("CC#N", "O"), "acetonitrile2": ("CC#N", "CC#N"),
    "hcn2": ("C#N", "C#N"), "hcn-water": ("C#N", "O"), "co2-water": ("O=C=O", "O"),
    "co2-2": ("O=C=O", "O=C=O"), "n2-2": ("N#N", "N#N"), "h2-water": ("[H][H]", "O"),
    "h2-2": ("[H][H]", "[H][H]"), "co-water": ("[C-]#[O+]", "O"), "dme-water": ("COC", "O"),
    "methylamine-water": ("CN", "O"), "trimethylamine-water": ("CN(C)C", "O"),
    "glycol-water": ("OCCO", "O"), "nitromethane-water": ("C[N+](=O)[O-]", "O"),
    "malonaldehyde-water": ("OC=CC=O", "O"), "hydroperoxide-water": ("OO", "O"),
}  # fmt: skip

# Endpoints share atom-map numbers; hydrogens that move are written out and mapped, the others
# stay with their parent. The first endpoint should be the more connected one: the second one
# is reached from its coordinates.
PATHS = {
    "hcn-hnc": ("[H:1][C:2]#[N:3]", "[C-:2]#[N+:3][H:1]"),
    "hnco-hocn": ("[H:1][N:2]=[C:3]=[O:4]", "[N:2]#[C:3][O:4][H:1]"),
    "formaldehyde-dissociation": ("[H:1][C:2](=[O:3])[H:4]", "[H:1][H:4].[C-:2]#[O+:3]"),
    "vinylalcohol-acetaldehyde": ("[CH2:1]=[CH:2][O:3][H:4]", "[CH2:1]([H:4])[CH:2]=[O:3]"),
    "propenol-acetone": ("[CH2:1]=[C:2]([CH3:5])[O:3][H:4]", "[CH2:1]([H:4])[C:2]([CH3:5])=[O:3]"),
    "formimidic-formamide": ("[NH:1]=[CH:2][O:3][H:4]", "[NH:1]([H:4])[CH:2]=[O:3]"),
    "enamine-imine": ("[CH2:1]=[CH:2][NH:3][H:4]", "[CH2:1]([H:4])[CH:2]=[NH:3]"),
    "hydroxypyridine-pyridone": (
        "[cH:1]1[cH:2][cH:3][c:4]([O:5][H:6])[n:7][cH:8]1",
        "[cH:1]1[cH:2][cH:3][c:4](=[O:5])[n:7]([H:6])[cH:8]1",
    ),
    "aminopyridine-imine": (
        "[cH:1]1[cH:2][cH:3][c:4]([NH:5][H:6])[n:7][cH:8]1",
        "[cH:1]1[cH:2][cH:3][c:4](=[NH:5])[n:7]([H:6])[cH:8]1",
    ),
    "malonaldehyde": (
        "[O:1]([H:2])/[CH:3]=[CH:4]\\[CH:5]=[O:6]", "[O:1]=[CH:3]/[CH:4]=[CH:5]\\[O:6][H:2]",
    ),
    "malonaldehyde-keto": (
        "[O:1]([H:2])/[CH:3]=[CH:4]\\[CH:5]=[O:6]", "[O:1]=[CH:3][CH:4]([H:2])[CH:5]=[O:6]",
    ),
    "aminoacrolein": (
        "[O:1]([H:2])/[CH:3]=[CH:4]\\[CH:5]=[NH:6]", "[O:1]=[CH:3]/[CH:4]=[CH:5]\\[NH:6][H:2]",
    ),
    "formicacid-shift": ("[O:1]([H:2])[CH:3]=[O:4]", "[O:1]=[CH:3][O:4][H:2]"),
    "aci-nitromethane": (
        "[CH2:1]=[N+:2]([O-:3])[O:4][H:5]", "[CH2:1]([H:5])[N+:2]([O-:3])=[O:4]",
    ),
    "nitromethane-nitrite": ("[CH3:1][N+:2]([O-:3])=[O:4]", "[N:2]([O:3][CH3:1])=[O:4]"),
    "oxime-nitroso": ("[CH2:1]=[N:2][O:3][H:4]", "[CH2:1]([H:4])[N:2]=[O:3]"),
    "pyrazole-shift": (
        "[cH:1]1[n:2]([H:6])[n:3][cH:4][cH:5]1", "[cH:1]1[n:2][n:3]([H:6])[cH:4][cH:5]1",
    ),
    "cyclopropane-propene": (
        "[CH2:1]1[CH2:2][CH:3]1[H:4]", "[CH2:1]([H:4])[CH:3]=[CH2:2]",
    ),
    "oxirane-acetaldehyde": ("[CH2:1]1[CH:2]([H:4])[O:3]1", "[CH2:1]([H:4])[CH:2]=[O:3]"),
    "propyne-allene": ("[CH:1]#[C:2][CH2:3][H:4]", "[CH:1]([H:4])=[C:2]=[CH2:3]"),
    "acetonitrile-isonitrile": ("[CH3:1][C:2]#[N:3]", "[C-:2]#[N+:3][CH3:1]"),
    "cyanamide-carbodiimide": ("[N:1]#[C:2][NH:3][H:4]", "[N:1]([H:4])=[C:2]=[NH:3]"),
    "cyclobutene-butadiene": ("[CH:1]1=[CH:2][CH2:3][CH2:4]1", "[CH:1]([CH:2]=[CH2:3])=[CH2:4]"),
    "cyclohexadiene-hexatriene": (
        "[CH:1]1=[CH:2][CH2:3][CH2:4][CH:5]=[CH:6]1",
        "[CH:1](/[CH:2]=[CH2:3])=[CH:6]/[CH:5]=[CH2:4]",
    ),
    "diels-alder": (
        "[CH2:1]1[CH:2]=[CH:3][CH2:4][CH2:5][CH2:6]1",
        "[CH2:1]=[CH:2][CH:3]=[CH2:4].[CH2:5]=[CH2:6]",
    ),
    "claisen": (
        "[CH2:1]=[CH:2][O:3][CH2:4][CH:5]=[CH2:6]", "[CH2:1]([CH:2]=[O:3])[CH2:6][CH:5]=[CH2:4]",
    ),
    "pentadiene-shift": (
        "[CH2:1]=[CH:2]/[CH:3]=[CH:4]\\[CH2:5][H:6]",
        "[CH2:1]([H:6])/[CH:2]=[CH:3]\\[CH:4]=[CH2:5]",
    ),
    "h2-ethene": ("[CH2:1]([H:3])[CH2:2][H:4]", "[CH2:1]=[CH2:2].[H:3][H:4]"),
    "h2-ethyne": ("[CH:1]([H:3])=[CH:2][H:4]", "[CH:1]#[CH:2].[H:3][H:4]"),
    "methanediol": ("[OH:1][CH2:2][O:3][H:4]", "[O:3]=[CH2:2].[OH:1][H:4]"),
    "aminomethanol": ("[NH2:1][CH2:2][O:3][H:4]", "[O:3]=[CH2:2].[NH2:1][H:4]"),
    "methoxymethanol": ("[CH3:5][O:1][CH2:2][O:3][H:4]", "[O:3]=[CH2:2].[CH3:5][O:1][H:4]"),
    "carbonicacid": ("[OH:1][C:2](=[O:5])[O:3][H:4]", "[O:5]=[C:2]=[O:3].[OH:1][H:4]"),
    "carbamicacid": ("[OH:1][C:2](=[O:5])[NH:3][H:4]", "[O:5]=[C:2]=[NH:3].[OH:1][H:4]"),
    "carbamicacid-co2": ("[O:1]([H:4])[C:2](=[O:5])[NH2:3]", "[O:5]=[C:2]=[O:1].[NH2:3][H:4]"),
    "urea-hnco": ("[NH2:1][C:2](=[O:5])[NH:3][H:4]", "[O:5]=[C:2]=[NH:3].[NH2:1][H:4]"),
    "ketene-water": ("[OH:1][C:2](=[O:5])[CH2:3][H:4]", "[O:5]=[C:2]=[CH2:3].[OH:1][H:4]"),
    "hcn-water-add": ("[OH:1][CH:2]=[N:3][H:4]", "[CH:2]#[N:3].[OH:1][H:4]"),
    "cyanohydrin": ("[N:1]#[C:2][CH2:3][O:4][H:5]", "[N:1]#[C:2][H:5].[CH2:3]=[O:4]"),
    "formicacid-co2": ("[H:1][O:2][C:3](=[O:4])[H:5]", "[H:1][H:5].[O:2]=[C:3]=[O:4]"),
    "formicacid-co": ("[OH:2][C:3](=[O:4])[H:5]", "[OH:2][H:5].[C-:3]#[O+:4]"),
    "formamide-co": ("[NH2:2][C:3](=[O:4])[H:5]", "[NH2:2][H:5].[C-:3]#[O+:4]"),
    "propanol-dehydration": (
        "[CH3:5][CH:1]([OH:2])[CH2:3][H:4]", "[CH3:5][CH:1]=[CH2:3].[OH:2][H:4]",
    ),
    "water2-exchange": (
        "[OH:1][H:2].[OH:3][H:4]", "[OH:1][H:4].[OH:3][H:2]",
    ),
    "formicacid2-transfer": (
        "[O:1]=[CH:2][O:3][H:4].[O:5]=[CH:6][O:7][H:8]",
        "[O:3]=[CH:2][O:1][H:8].[O:7]=[CH:6][O:5][H:4]",
    ),
    "formamide2-transfer": (
        "[O:1]=[CH:2][NH:3][H:4].[O:5]=[CH:6][NH:7][H:8]",
        "[NH:3]=[CH:2][O:1][H:8].[NH:7]=[CH:6][O:5][H:4]",
    ),
    "formicacid-water-transfer": (
        "[O:1]=[CH:2][O:3][H:4].[OH:5][H:6]", "[O:3]=[CH:2][O:1][H:6].[OH:5][H:4]",
    ),
    "methanol-amination": (
        "[CH3:1][O:2][H:5].[NH2:3][H:4]", "[CH3:1][NH2:3].[O:2]([H:4])[H:5]",
    ),
    "methanol-etherification": (
        "[CH3:1][OH:2].[CH3:3][O:4][H:5]", "[CH3:1][O:4][CH3:3].[OH:2][H:5]",
    ),
    "formate-hydrolysis": (
        "[CH:1](=[O:2])[O:3][CH3:4].[OH:5][H:6]", "[CH:1](=[O:2])[OH:5].[CH3:4][O:3][H:6]",
    ),
    "formamide-hydrolysis": (
        "[CH:1](=[O:2])[NH2:3].[OH:5][H:6]", "[CH:1](=[O:2])[OH:5].[NH2:3][H:6]",
    ),
}  # fmt: skip


def canonical(smiles: str) -> str:
    """Canonical SMILES without atom maps and stereo marks, hydrogens implicit where possible."""
    mol = Chem.MolFromSmiles(smiles)
    for atom in mol.GetAtoms():
        atom.SetAtomMapNum(0)
    return Chem.CanonSmiles(Chem.MolToSmiles(Chem.RemoveHs(mol), isomericSmiles=False))


def tautomers(smiles: str) -> set[str]:
    """Canonical SMILES of a molecule and of the tautomers RDKit finds for it."""
    mol = Chem.MolFromSmiles(canonical(smiles))
    found = rdMolStandardize.TautomerEnumerator().Enumerate(mol)
    return {canonical(smiles)} | {canonical(Chem.MolToSmiles(other)) for other in found}


def is_closed_shell(smiles: str) -> bool:
    """Whether the SMILES has only H, C, N and O, no charge and no unpaired electron."""
    atoms = Chem.AddHs(Chem.MolFromSmiles(smiles)).GetAtoms()
    neutral = sum(atom.GetFormalCharge() for atom in atoms) == 0
    paired = all(atom.GetNumRadicalElectrons() == 0 for atom in atoms)
    return neutral and paired and {atom.GetSymbol() for atom in atoms} <= set("HCNO")


def check() -> None:
    """Assert the rules of the lists.

    Nothing excluded is listed, no molecule stands in two splits, and there are no open shells.
    """
    open_shells = [s for s in TINY + TRAIN + TEST + FORGETTING if not is_closed_shell(s)]
    assert not open_shells, f"charged, open-shell or other elements: {open_shells}"
    train = [canonical(smiles) for smiles in TINY + TRAIN]
    unseen = [canonical(smiles) for smiles in TEST + FORGETTING]
    assert len(set(unseen)) == len(unseen), "a molecule is listed twice among the unseen"
    pieces = [s for members in CLUSTERS.values() for s in members]
    pieces += [s for ends in PATHS.values() for end in ends for s in end.split(".")]
    used = set(train) | {canonical(smiles) for smiles in pieces}
    assert not used & set(unseen), f"in training and unseen: {used & set(unseen)}"
    forbidden = set().union(*(tautomers(smiles) for smiles in EXCLUDED))
    listed = forbidden & (used | set(unseen))
    assert not listed, f"excluded molecules are listed: {listed}"
