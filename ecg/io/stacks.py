"""Arrays of samples, which may hold several records: .npy, and HDF5 as two data sets come in it."""

import numpy as np

from dataset import LEADS
from ecg.io.bounds import bounded, raise_if_of_machine
from ecg.io.record import Record, check_length, check_matrix
from ecg.io.tables import INSTALL

MAX_MEMORY, MAX_SECONDS = 1 << 30, 20  # of a packed record: an hour takes 43 MB
ONE, MANY = "ecg", "tracings"  # names of an HDF5 file's array, of SPH (12, n), CODE-15 (N, n, 12)


def to_rows(signal, table):
    """Return Record, lead -> samples in mV, and notes of (L, n), in the order of a TableFormat."""
    order = list(table.leads_order or LEADS)
    check_matrix(signal, len(order))
    if table.sample_rate:
        check_length(signal.shape[1], table.sample_rate)  # before anything is copied
    signal = np.array(signal, np.float64) / (table.units_per_mv or 1)
    return Record(table.sample_rate), {lead: signal[order.index(lead)] for lead in LEADS}, []


def take(array, row, n_leads, sample_rate):
    """Return the `row`-th record (L, n) of an array of several, in either order of its axes."""
    if array.ndim != 3 or n_leads not in array.shape[1:] or array.dtype.kind not in "iuf":
        shape = f"{array.dtype} {array.shape}"
        raise ValueError(f"its data are not records of {n_leads} leads of numbers but {shape}")
    if sample_rate:
        check_length(max(array.shape[1:]), sample_rate)  # before anything is copied
    signal = np.asarray(array[row])
    return signal.T if signal.shape[-1] == n_leads and signal.shape[0] != n_leads else signal


def read_npy(path, table, row=None):
    """Read a .npy of one row per lead, or one record of several; never a pickle."""
    try:
        # mapped: if the header claims more than the file holds, this fails without using memory
        signal = np.lib.format.open_memmap(path, mode="r")
    except ValueError as error:
        raise ValueError(
            f"it is not a complete .npy file of numbers ({error}); write it again with numpy.save"
        ) from None
    if row is not None:
        signal = take(signal, row, len(table.leads_order or LEADS), table.sample_rate)
    elif signal.ndim == 3:
        raise ValueError(f"it holds {len(signal)} records; save each as a .npy file of its own")
    return to_rows(signal, table)


def read_hdf5(path, table, row=None):
    """Read the array of an HDF5 file; zeros at both ends of one of several are filling."""
    try:
        import h5py
    except ImportError:
        raise ValueError(f"HDF5 files need h5py: {INSTALL}") from None
    try:
        with bounded(MAX_MEMORY, MAX_SECONDS), h5py.File(path, "r") as file:
            array = file.get(ONE if row is None else MANY)
            if array is None:
                raise ValueError(f"it holds no {ONE!r} of one record (it has {', '.join(file)})")
            if row is None:
                return to_rows(array, table)
            signal = take(array, row, len(LEADS), table.sample_rate)
    except MemoryError:
        raise ValueError("it is a damaged HDF5 file: it asks for more than 1 GB") from None
    except OSError as error:
        raise_if_of_machine(error)
        raise ValueError(f"it is a damaged HDF5 file ({error}); copy it again") from None
    filled = np.flatnonzero(np.any(signal != 0, axis=0))
    signal = signal[:, filled[0] : filled[-1] + 1] if len(filled) else signal
    return to_rows(signal, table)
