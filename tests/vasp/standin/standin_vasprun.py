"""vasprun.xml."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import numpy as np
from standin_failures import no_space
from standin_header import IALGO, is_real_space
from standin_outcar import KILOBAR
from standin_text import Sheet, volume_of

if TYPE_CHECKING:
    from standin_electrons import Energies, Iteration
    from standin_frames import Frame
    from standin_incar import Value
    from standin_job import Job

PARAMETERS = {
    "general": ("SYSTEM",),
    "electronic": ("PREC", "ENMAX", "EDIFF", "ALGO", "IALGO", "NBANDS", "NELECT", "GGA", "LHFCALC"),
    "electronic smearing": ("ISMEAR", "SIGMA"),
    "electronic projectors": ("LREAL",),
    "electronic startup": ("ISTART", "ICHARG"),
    "electronic spin": ("ISPIN", "MAGMOM", "NUPDOWN"),
    "electronic exchange-correlation": ("LASPH",),
    "electronic convergence": ("NELM", "NELMIN"),
    "electronic mixer": ("AMIN", "MAXMIX"),
    "ionic": ("NSW", "IBRION", "MDALGO", "ISIF", "PSTRESS", "EDIFFG", "POTIM", "SMASS"),
    "ionic md": ("TEBEG", "TEEND", "NBLOCK", "KBLOCK"),
    "symmetry": ("ISYM",),
    "dos": ("LORBIT",),
    "writing": ("NWRITE", "LWAVE", "LCHARG"),
    "performance": ("KPAR", "NCORE", "NPAR"),
    "vdW DFT": ("IVDW",),
}
WHERE_GIVEN = ("KPAR", "NCORE", "NPAR", "IVDW", "MAGMOM")


class Vasprun(Sheet):
    """vasprun.xml; `full` makes the next write fail half-way."""

    def __init__(self, job: Job) -> None:
        super().__init__("vasprun.xml")
        self._job = job
        self.full = False
        self._begun = time.time()
        self.write(self._head() + self._kpoints() + self._parameters() + self._atominfo())
        self._structure("initialpos", job.poscar.cell, job.poscar.fractional, " ")

    def write(self, text: str) -> None:
        if self.full:
            super().write(text[: len(text) // 2])
            self.flush()
            raise no_space()
        super().write(text)

    def begin(self) -> None:
        self._begun = time.time()
        self.write(" <calculation>\n")

    def half_an_iteration(self) -> None:
        """Write what the file may end in when the run is killed."""
        self.write('  <scstep>\n   <time name="dav">    0.1')
        self.flush()

    def iteration(self, iteration: Iteration) -> None:
        e = iteration.energies
        times = '   <time name="dav">    0.10    0.10</time>\n   <time name="total">    0.10    0.10</time>\n'
        energies = _energies(e.free, e.without_entropy, e.zero_smearing, "    ")
        self.write(f"  <scstep>\n{times}   <energy>\n{energies}   </energy>\n  </scstep>\n")

    def frame(self, frame: Frame) -> None:
        self._structure("", frame.cell, frame.fractional, "  ")
        self.write(_varray("forces", frame.point.forces, "  "))
        if self._job.settings.integer("ISIF") > 0:
            self.write(_varray("stress", -frame.point.stress * KILOBAR, "  "))
        self.write(f"  <energy>\n{self._final(frame.energies)}")
        if frame.heat is not None:
            parts = {
                "kinetic": frame.heat.kinetic,
                "lattice kinetic": 0.0,
                "nosepot": frame.heat.nose_potential,
                "nosekinetic": frame.heat.nose_kinetic,
                "total": frame.total,
            }
            self.write("".join(f'   <i name="{name}">{value:16.8f} </i>\n' for name, value in parts.items()))
        took = time.time() - self._begun
        self.write(f'  </energy>\n  <time name="totalsc">{took:8.4f}{took:8.4f}</time>\n </calculation>\n')

    def finish(self, cell: np.ndarray, fractional: np.ndarray, velocities: np.ndarray | None) -> None:
        self._structure("finalpos", cell, fractional, " ", velocities)
        self.write("</modeling>\n")

    def _final(self, e: Energies) -> str:
        if self._job.identity.flavour == 5:
            # VASP 5 has the energies in the wrong places: only the last scstep is right
            return _energies(e.free, e.zero_smearing, e.free - e.without_entropy, "   ")
        return _energies(e.free, e.without_entropy, e.zero_smearing, "   ")

    def _head(self) -> str:
        identity = self._job.identity
        given = "".join(f"  {_item(k, v)}\n" for k, v in self._job.settings.given.items())
        return (
            '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n <generator>\n'
            '  <i name="program" type="string">vasp </i>\n'
            f'  <i name="version" type="string">{identity.version}  </i>\n'
            f'  <i name="subversion" type="string">{identity.subversion} </i>\n'
            '  <i name="platform" type="string">LinuxGNU </i>\n'
            + time.strftime(
                '  <i name="date" type="string">%Y %m %d </i>\n  <i name="time" type="string">%H:%M:%S </i>\n'
            )
            + f" </generator>\n <incar>\n{given} </incar>\n"
        )

    def _kpoints(self) -> str:
        mesh, generation = self._job.mesh, ""
        if mesh.scheme != "Listgenerated":
            generation = (
                f'  <generation param="{mesh.scheme}">\n   <v type="int" name="divisions">'
                + "".join(f"{n:9d}" for n in mesh.divisions)
                + ' </v>\n   <v name="usershift">'
                + "".join(f"{s:17.8f}" for s in mesh.shift)
                + " </v>\n  </generation>\n"
            )
        points = _varray("kpointlist", mesh.points, "  ")
        return f" <kpoints>\n{generation}{points}{_varray('weights', mesh.weights[:, None], '  ')} </kpoints>\n"

    def _parameters(self) -> str:
        settings = self._job.settings
        values = dict(settings.values)
        values |= {
            "ENMAX": settings.real("ENCUT"),
            "PREC": settings.text("PREC")[:6].lower(),
            "LREAL": is_real_space(settings.text("LREAL")),
            "IALGO": IALGO.get(settings.text("ALGO").strip()[:1].upper(), 38),
            "NBANDS": self._job.bands,
            "LHFCALC": False,
        }
        text = " <parameters>\n"
        for separator, tags in PARAMETERS.items():
            shown = [tag for tag in tags if tag in settings.given or tag not in WHERE_GIVEN]
            items = "".join(f"   {_item(tag, values[tag])}\n" for tag in shown)
            text += f'  <separator name="{separator}" >\n{items}  </separator>\n'
        return text + " </parameters>\n"

    def _atominfo(self) -> str:
        poscar = self._job.poscar
        kinds = [number for number, count in enumerate(poscar.counts, 1) for _ in range(count)]
        atoms = "".join(
            f"    <rc><c>{e:<2s}</c><c>{k:4d}</c></rc>\n" for e, k in zip(poscar.elements, kinds, strict=True)
        )
        types = "".join(
            f"    <rc><c>{count:4d}</c><c>{p.element:<2s}</c><c>{p.mass:16.8f}</c><c>{p.valence:16.8f}</c>"
            f"<c>  {p.title:<40s}</c></rc>\n"
            for p, count in zip(self._job.potentials, poscar.counts, strict=True)
        )
        return (
            f" <atominfo>\n  <atoms>{len(poscar):8d} </atoms>\n  <types>{len(poscar.symbols):8d} </types>\n"
            '  <array name="atoms" >\n   <dimension dim="1">ion</dimension>\n   <field type="string">element</field>\n'
            f'   <field type="int">atomtype</field>\n   <set>\n{atoms}   </set>\n  </array>\n'
            '  <array name="atomtypes" >\n   <dimension dim="1">type</dimension>\n'
            '   <field type="int">atomspertype</field>\n   <field type="string">element</field>\n'
            "   <field>mass</field>\n   <field>valence</field>\n"
            f'   <field type="string">pseudopotential</field>\n   <set>\n{types}   </set>\n  </array>\n </atominfo>\n'
        )

    def _structure(
        self, name: str, cell: np.ndarray, fractional: np.ndarray, indent: str, velocities: np.ndarray | None = None
    ) -> None:
        text = f'{indent}<structure name="{name}" >\n' if name else f"{indent}<structure>\n"
        text += f"{indent} <crystal>\n{_varray('basis', cell, indent + '  ')}"
        text += f'{indent}  <i name="volume">{volume_of(cell):16.8f} </i>\n'
        text += f"{_varray('rec_basis', np.linalg.inv(cell).T, indent + '  ')}{indent} </crystal>\n"
        text += _varray("positions", fractional, indent + " ")
        if velocities is not None:
            text += _varray("velocities", velocities, indent + " ")
        if name and self._job.poscar.selective:
            rows = [" ".join("T" if free else "F" for free in row) for row in self._job.poscar.free]
            flags = "".join(f'{indent}  <v type="logical" >  {row} </v>\n' for row in rows)
            text += f'{indent} <varray name="selective"  type="logical" >\n{flags}{indent} </varray>\n'
        self.write(f"{text}{indent}</structure>\n")


def _item(name: str, value: Value) -> str:
    if isinstance(value, bool):
        return f'<i type="logical" name="{name}"> {"T" if value else "F"}  </i>'
    if isinstance(value, int):
        return f'<i type="int" name="{name}">{value:6d}</i>'
    if isinstance(value, float):
        return f'<i name="{name}">{value:16.8f}</i>'
    if isinstance(value, list):
        return f'<v name="{name}">' + "".join(f"{x:16.8f}" for x in value) + "</v>"
    return f'<i type="string" name="{name}">{escape(value)}</i>'


def _varray(name: str, rows: np.ndarray, indent: str) -> str:
    lines = "".join(f"{indent} <v>" + "".join(f"{x:17.8f}" for x in row) + " </v>\n" for row in rows)
    return f'{indent}<varray name="{name}" >\n{lines}{indent}</varray>\n'


def _energies(free: float, without_entropy: float, zero_smearing: float, indent: str) -> str:
    values = {"e_fr_energy": free, "e_wo_entrp": without_entropy, "e_0_energy": zero_smearing}
    return "".join(f'{indent}<i name="{name}">{value:16.8f} </i>\n' for name, value in values.items())
