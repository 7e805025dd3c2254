"""What OUTCAR says before the first step."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from standin_identity import LABEL
from standin_text import table, volume_of

if TYPE_CHECKING:
    from standin_job import Job

IALGO = {"N": 38, "F": 68, "V": 48, "A": 58, "D": 53}


def header(job: Job) -> str:
    """Return the first part of OUTCAR."""
    return "".join(
        [_opening(job), _potentials(job), _kpoints_found(job), _dimensions(job), _settings(job), _start(job)]
    )


def lattice(cell: np.ndarray, cutoff: float) -> str:
    """Return a cell [Å] and its reciprocal; the cutoff is in eV."""
    reciprocal = np.linalg.inv(cell).T
    lengths = np.concatenate([np.linalg.norm(cell, axis=1), np.linalg.norm(reciprocal, axis=1)])
    return (
        f"  energy-cutoff  :   {cutoff:9.2f}\n  volume of cell :  {volume_of(cell):10.2f}\n"
        "      direct lattice vectors                 reciprocal lattice vectors\n"
        + "".join(
            "   {:13.9f}{:13.9f}{:13.9f}   {:13.9f}{:13.9f}{:13.9f}\n".format(*a, *b)
            for a, b in zip(cell, reciprocal, strict=True)
        )
        + "\n  length of vectors\n"
        + "   {:13.9f}{:13.9f}{:13.9f}   {:13.9f}{:13.9f}{:13.9f}\n\n".format(*lengths)
    )


def _opening(job: Job) -> str:
    given = "".join(f"   {k} = {_echo(v)}\n" for k, v in job.settings.given.items())
    date = time.strftime(" executed on             LinuxGNU date %Y.%m.%d  %H:%M:%S")
    return (
        f"{job.identity.banner}\n  \n{date}\n running    1 mpi-ranks, on    1 nodes\n\n\n{'-' * 104}\n\n\n"
        # VASP 5 leaves this empty
        f" INCAR:\n{given if job.identity.flavour == 6 else ''}\n"
    )


def _echo(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _potentials(job: Job) -> str:
    lines = [f" POTCAR:   {p.title:<38s}\n" for p in job.potentials]
    for p in job.potentials:
        lines.append(
            f" POTCAR:   {p.title:<38s}\n   VRHFIN ={p.element}: \n   LEXCH  = PE\n   TITEL  = {p.title}\n"
            f"   POMASS = {p.mass:8.3f}; ZVAL   = {p.valence:8.3f}    mass and valenz\n"
            f"   ENMAX  = {p.cutoff:8.3f}; ENMIN  = {0.75 * p.cutoff:8.3f} eV\n"
        )
    return "".join(lines)


def _kpoints_found(job: Job) -> str:
    lines = "".join(
        "  {:9.6f} {:9.6f} {:9.6f}  {:12.6f}\n".format(*p, w)
        for p, w in zip(job.mesh.points, job.mesh.weights, strict=True)
    )
    return (
        f"\n Found {len(job.mesh.points):6d} irreducible k-points:\n \n Following reciprocal coordinates:\n"
        f"            Coordinates               Weight\n{lines}\n {LABEL}: k-points are ignored\n\n"
    )


def _dimensions(job: Job) -> str:
    points = len(job.mesh.points)
    return (
        f"\n Dimension of arrays:\n   k-points           NKPTS = {points:6d}   k-points in BZ     NKDIM = {points:6d}"
        f"   number of bands    NBANDS= {job.bands:6d}\n"
        f"   number of dos      NEDOS =    301   number of ions     NIONS = {len(job.poscar):6d}\n"
        "   non local maximal  LDIM  =      4   non local SUM 2l+1 LMDIM =      8\n"
        "   total plane-waves  NPLWV =  27000\n"
        "   max r-space proj   IRMAX =      1   max aug-charges    IRDMAX=   1000\n"
        "   dimension x,y,z NGX =    30 NGY =   30 NGZ =   30\n"
        "   dimension x,y,z NGXF=    60 NGYF=   60 NGZF=   60\n"
        "   support grid    NGXF=    60 NGYF=   60 NGZF=   60\n"
        f"   ions per type =            {''.join(f'{c:4d}' for c in job.poscar.counts)}\n\n"
        f" SYSTEM =  {job.settings.text('SYSTEM')}\n POSCAR =  {job.poscar.comment}\n\n"
    )


def _settings(job: Job) -> str:
    s = job.settings
    i, r = s.integer, s.real
    ialgo = IALGO.get(s.text("ALGO").strip()[:1].upper(), 38)
    spin = f"   NUPDOWN= {r('NUPDOWN'):12.4f}    fix difference up-down\n" if i("ISPIN") == 2 else ""
    dispersion = f"   IVDW   = {i('IVDW'):6d}    dispersion, ignored: {LABEL}\n" if "IVDW" in s.given else ""
    return (
        " Startparameter for this run:\n"
        f"   NWRITE = {i('NWRITE'):6d}    write-flag & timer\n"
        f"   PREC   = {s.text('PREC')[:6].lower():<6s}    normal or accurate (medium, high low for compatibility)\n"
        f"   ISTART = {i('ISTART'):6d}    job   : 0-new  1-cont  2-samecut\n"
        f"   ICHARG = {i('ICHARG'):6d}    charge: 1-file 2-atom 10-const\n"
        f"   ISPIN  = {i('ISPIN'):6d}    spin polarized calculation?\n"
        "   LNONCOLLINEAR =      F non collinear calculations\n"
        " Electronic Relaxation 1\n"
        f"   ENCUT  = {r('ENCUT'):6.1f} eV\n"
        f"   NELM   = {i('NELM'):6d};   NELMIN={i('NELMIN'):3d}; NELMDL= -5     # of ELM steps \n"
        f"   EDIFF  = {r('EDIFF'):.1E}   stopping-criterion for ELM\n"
        f"   LREAL  = {'T' if is_real_space(s.text('LREAL')) else 'F':>6s}    real-space projection\n"
        " Ionic relaxation\n"
        f"   EDIFFG = {r('EDIFFG'):.1E}   stopping-criterion for IOM\n"
        f"   NSW    = {i('NSW'):6d}    number of steps for IOM\n"
        f"   NBLOCK = {i('NBLOCK'):6d};   KBLOCK = {i('KBLOCK'):6d}    inner block; outer block \n"
        f"   IBRION = {i('IBRION'):6d}    ionic relax: 0-MD 1-quasi-New 2-CG\n"
        f"   ISIF   = {i('ISIF'):6d}    stress and relaxation\n"
        f"   ISYM   = {i('ISYM'):6d}    0-nonsym 1-usesym 2-fastsym\n\n"
        f"   POTIM  = {r('POTIM'):.4f}    time-step for ionic-motion\n"
        f"   TEIN   = {r('TEBEG'):6.1f}    initial temperature\n"
        f"   TEBEG  = {r('TEBEG'):6.1f};   TEEND  ={r('TEEND'):6.1f} temperature during run\n"
        f"   SMASS  = {r('SMASS'):6.2f}    Nose mass-parameter (am)\n"
        f"   PSTRESS= {r('PSTRESS'):6.1f} pullay stress\n\n"
        "  Mass of Ions in am\n   POMASS =" + "".join(f"{p.mass:7.2f}" for p in job.potentials) + "\n"
        "  Ionic Valenz\n   ZVAL   =" + "".join(f"{p.valence:7.2f}" for p in job.potentials) + "\n"
        f"   NELECT = {job.electrons:12.4f}    total number of electrons\n{spin}\n"
        f"   ISMEAR = {i('ISMEAR'):5d};   SIGMA  = {r('SIGMA'):6.2f}  broadening in eV -4-tet -1-fermi 0-gaus\n"
        f"   IALGO  = {ialgo:6d}    algorithm\n   LORBIT = {i('LORBIT'):6d}    0 simple, 1 ext, 2 COOP (PROOUT)\n"
        f"   GGA    = {s.text('GGA'):>5s}    GGA type\n"
        f"   LASPH  = {'T' if s.flag('LASPH') else 'F':>6s}    aspherical Exc\n"
        f"{dispersion}\n"
    )


def is_real_space(lreal: str) -> bool:
    """Return what VASP makes of LREAL: only .FALSE. switches the projection off."""
    return not lreal.strip(" .").upper().startswith("F")


def _start(job: Job) -> str:
    mesh, poscar = job.mesh, job.poscar
    reciprocal = np.linalg.inv(poscar.cell).T
    coordinates = {
        "units of 2pi/SCALE and weight": mesh.points @ reciprocal,
        "reciprocal lattice and weights": mesh.points,
    }
    text = lattice(poscar.cell, job.settings.real("ENCUT"))
    for units, points in coordinates.items():
        text += f" k-points in {units}: {mesh.title[:40]}\n"
        text += (
            "".join(
                "  {:11.8f} {:11.8f} {:11.8f}  {:10.3f}\n".format(*p, w)
                for p, w in zip(points, mesh.weights, strict=True)
            )
            + " \n"
        )
    text += " position of ions in fractional coordinates (direct lattice) \n"
    text += table(poscar.fractional, "13.8f") + " \n position of ions in cartesian coordinates  (Angst):\n"
    return text + table(poscar.fractional @ poscar.cell, "13.8f") + " \n"
