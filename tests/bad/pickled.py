"""The broken and hostile pickled files, which `make.py` writes to tests/bad/pickle: opcodes and archives byte by byte."""
import io
import struct
import zipfile

PROTO, STOP = b"\x80\x02", b"."


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value):
    return b"\x8a\x08" + struct.pack("<q", value) if not 0 <= value < 2**31 else b"J" + struct.pack("<i", value)


def name(module, function):
    return b"c" + module.encode() + b"\n" + function.encode() + b"\n"


def call(module, function, *args):
    return name(module, function) + b"(" + b"".join(args) + b"tR"


def numbers(values):
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(key="0", elements=2, kind="FloatStorage", more=b"", word="storage"):
    return b"(" + text(word) + name("torch", kind) + text(key) + text("cpu") + number(elements) + more + b"tQ"


def view(offset=0, shape=(2,), strides=(1,), of=None):
    return call("torch._utils", "_rebuild_tensor_v2", storage() if of is None else of, number(offset), numbers(shape), numbers(strides), b"\x89", b"N")


def state(*entries):
    return b"}(" + b"".join(text(key) + value for key, value in entries) + b"u"


def pickle(content):
    return PROTO + content + STOP


GOOD = pickle(state(("a", view())))
DATA = struct.pack("<ff", 1, 2)


def archive(pkl=GOOD, files=(("data/0", DATA),), folder="archive", compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as out:
        for path, content in [("data.pkl", pkl), *files]:
            out.writestr(zipfile.ZipInfo(f"{folder}/{path}"), content, compression)
    return buffer.getvalue()


def of(content):
    """An archive whose pickle is `content`, before which nothing harmful happens."""
    return archive(pickle(content))


def patched(data, old, new, count=1):
    assert old in data and len(old) == len(new)
    return data.replace(old, new, count)


def twice():
    """Two entries of one name, which `zipfile` would warn about."""
    return patched(archive(files=[("data/0", DATA), ("data/1", DATA)]), b"archive/data/1", b"archive/data/0", 2)


def overlapping():
    """The second storage begins inside the first, whose data has its header."""
    data = bytearray(archive(files=[("data/0", DATA), ("data/1", DATA)]))
    directory = data.rindex(b"PK\x01\x02")
    first = data.index(b"PK\x03\x04", 4)
    data[directory + 42:directory + 46] = struct.pack("<I", first + 1)
    return bytes(data)


def directory_field(data, at, form, value, entry=b"PK\x01\x02"):
    data = bytearray(data)
    place = data.index(entry) + at
    data[place:place + struct.calcsize(form)] = struct.pack(form, value)
    return bytes(data)


MAGIC = PROTO + b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19" + STOP
VERSION = PROTO + b"M\xe9\x03."


def system(little=True):
    return pickle(state(("little_endian", b"\x88" if little else b"\x89"), ("protocol_version", number(1001))))


def legacy(pkl=None, keys=("0",), data=struct.pack("<q", 2) + DATA, head=MAGIC + VERSION, little=True):
    pkl = pickle(state(("a", view(of=storage(more=b"N"))))) if pkl is None else pkl
    return head + system(little) + pkl + pickle(b"](" + b"".join(map(text, keys)) + b"e") + data


SYSTEM = "got os.system, expected tensors"
NEST = 300
ID = text("id")

PICKLES = {
    "system_by_global_and_reduce.pt": (of(call("os", "system", ID)), SYSTEM),
    "system_by_global_alone.pt": (of(state(("f", name("os", "system")), ("a", view()))), SYSTEM),
    "system_by_stack_global.pt": (archive(b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R."), SYSTEM),
    "system_by_inst.pt": (of(b"(" + ID + b"ios\nsystem\n"), SYSTEM),
    "system_by_obj.pt": (of(b"(" + name("os", "system") + ID + b"o"), SYSTEM),
    "system_by_newobj.pt": (of(name("os", "system") + ID + b"\x85\x81"), SYSTEM),
    "system_by_newobj_ex.pt": (of(name("os", "system") + b")}\x92"), SYSTEM),
    "system_by_build.pt": (of(name("os", "system") + b"}b"), SYSTEM),
    "system_in_a_reduce_of_a_known_name.pt": (of(call("torch._utils", "_rebuild_parameter", call("os", "system", ID), b"\x89", b"N")), SYSTEM),
    "system_in_the_legacy_layout.pt": (legacy(pickle(call("os", "system", ID))), SYSTEM),
    "system_instead_of_the_magic_number.pt": (legacy(head=pickle(call("os", "system", ID))), SYSTEM),
    "system_in_the_list_of_keys.pt": (MAGIC + VERSION + system() + GOOD + pickle(call("os", "system", ID)), SYSTEM),
    "eval.pt": (of(call("builtins", "eval", text("1"))), "got builtins.eval"),
    "exec_of_python_2.pt": (of(call("__builtin__", "exec", text("1"))), "got __builtin__.exec"),
    "getattr.pt": (of(call("builtins", "getattr", ID)), "got builtins.getattr"),
    "dotted_name.pt": (archive(b"\x80\x04\x8c\x0ctorch._utils\x8c\x0fos.system.alias\x93."), "got torch._utils.os.system.alias"),
    "name_with_control_characters.pt": (of(name("\x1b[2J", "x")), "got \\u{1b}[2J.x"),
    "name_too_long.pt": (of(name("m" * 300, "x")), "length of a line: got more, expected at most 256"),
    "load_of_a_file.pt": (of(call("torch.serialization", "load", text("x"))), "got torch.serialization.load"),
    "nested_reduces.pt": (of(call("collections", "OrderedDict", call("collections", "OrderedDict", call("collections", "OrderedDict", number(3))))), "expected a list of pairs"),
    "reduce_of_a_text.pt": (of(text("x") + b")R"), "function: got a text, expected a name"),
    "reduce_of_a_storage_class.pt": (of(call("torch", "FloatStorage", number(10**9))), "got 1 arguments, expected others"),
    "state_of_a_tensor.pt": (of(view() + b"}b"), "state of a tensor: got one, expected none"),
    "extension_1.pt": (of(b"\x82\x07"), "got extension 7"),
    "extension_4.pt": (of(b"\x84\x07\0\0\0"), "got extension 7"),
    "persistent_id_as_text.pt": (of(b"Pos.system\n"), "got 0x50, expected one that torch writes"),
    "persistent_id_of_a_number.pt": (of(number(3) + b"Q"), "persistent id: got a whole number"),
    "persistent_id_in_itself.pt": (of(b"]q\0h\0a" + b"\x85Q"), "persistent id: got a tuple, expected that of a storage"),
    "persistent_id_of_another_class.pt": (of(b"(" + text("storage") + name("collections", "OrderedDict") + text("0") + text("cpu") + number(2) + b"tQ"), "class of a storage: got a class or function"),
    "pickled_module.pt": (of(b"(" + text("module") + name("collections", "OrderedDict") + text("f") + text("s") + b"tQ"), "got a pickled module"),
    "buffer.pt": (archive(b"\x80\x05\x97."), "got 0x97"),
    "protocol_0.pt": (archive(b"cos\nsystem\n(S'id'\ntR."), "got protocol 0 or 1"),
    "protocol_9.pt": (archive(b"\x80\x09N."), "pickle protocol: got 9"),
    "complex_numbers.pt": (of(state(("a", view(of=storage(kind="ComplexFloatStorage"))))), "got torch.ComplexFloatStorage"),
    "memo_bomb.pt": (of(b"]q\0" + b"(" + b"h\0" * 70_000 + b"e"), "values on the stack: got 65537, expected at most 65536"),
    "memo_of_an_unknown_number.pt": (of(b"j\xff\xff\xff\xff"), "memo: got 4294967295"),
    "marks_nested_deep.pt": (of(b"(" * NEST), "depth of nesting: got 257, expected at most 256"),
    "dictionaries_nested_deep.pt": (of((b"}" + text("a")) * 20 + view() + b"s" * 20), "depth of dictionaries: got 9, expected at most 8"),
    "dictionary_in_itself.pt": (of(b"}q\0" + text("a") + b"h\0s"), 'dictionary "a": got it twice'),
    "dictionaries_shared.pt": (of(b"}q\0" + text("t") + view() + b"s0" + state(("a", b"h\0"), ("b", b"h\0"))), "got it twice, expected once"),
    "list_in_itself.pt": (of(b"]q\0h\0a"), "got a list, expected a dictionary of tensors"),
    "stack_empty.pt": (of(b"0"), "stack: got no value"),
    "pop_under_a_mark.pt": (of(b"N(0"), "stack: got no value"),
    "no_mark.pt": (of(b"t"), "stack: got no mark"),
    "odd_entries.pt": (of(b"}(" + text("a") + b"u"), "got 1 values, expected pairs"),
    "text_of_four_gigabytes.pt": (of(b"X\xff\xff\xff\xff"), "got 4294967295, expected at most"),
    "bytes_of_2_to_the_64.pt": (archive(b"\x80\x04\x8e" + b"\xff" * 8), "got 18446744073709551615, expected at most"),
    "number_of_four_gigabytes.pt": (of(b"\x8b\xff\xff\xff\xff"), "length of the pickle"),
    "frame_past_the_end.pt": (archive(b"\x80\x04\x95" + b"\xff" * 8 + b"."), "length of a frame"),
    "pickle_with_more_behind.pt": (archive(GOOD + b"\x80\x02N."), "further bytes, expected none"),
    "pickle_cut.pt": (archive(GOOD[:-9]), "length of the pickle: got"),
    "pickle_empty.pt": (archive(b""), "length of the pickle: got 0 bytes"),
    "no_tensors.pt": (of(state(("epoch", number(3)))), "got no tensors"),
    "tensor_alone.pt": (of(view()), "got a tensor, expected a dictionary of tensors"),
    "name_twice.pt": (of(state(("a", view()), ("a", view()))), 'tensor "a": got two entries'),
    "name_twice_by_joining.pt": (of(state(("a.b", view()), ("a", state(("b", view()))))), 'tensor "a.b": got two entries'),
    "state_dict_twice.pt": (of(state(("state_dict", state(("a", view()))), ("state_dict", state(("b", view()))))), 'entry "state_dict": got two'),
    "tensor_name_too_long.pt": (of(state(("x" * 600, view()))), "got 600, expected at most 512"),
    "size_negative.pt": (of(state(("a", view(shape=[-2])))), "size of a tensor: got -2"),
    "stride_negative.pt": (of(state(("a", view(strides=[-1])))), "stride of a tensor: got -1"),
    "offset_negative.pt": (of(state(("a", view(offset=-1)))), "offset of a tensor: got -1"),
    "elements_negative.pt": (of(state(("a", view(of=storage(elements=-2))))), "elements of a storage: got -2"),
    "elements_overflow.pt": (of(state(("a", view(of=storage(elements=2**62))))), 'size of storage "0": got 4611686018427387904 elements'),
    "offset_past_the_end.pt": (of(state(("a", view(offset=1)))), "got elements past its end"),
    "offset_overflows.pt": (of(state(("a", view(offset=2**63 - 1)))), "got elements past its end"),
    "shape_past_the_end.pt": (of(state(("a", view(shape=[3])))), "got more elements, expected at most the 2 elements"),
    "shape_overflows.pt": (of(state(("a", view(shape=[2**40, 2**40], strides=[1, 1])))), "got too many elements"),
    "stride_past_the_end.pt": (of(state(("a", view(strides=[2])))), "got elements past its end"),
    "stride_overflows.pt": (of(state(("a", view(shape=[2, 1], strides=[2**63 - 1, 2**63 - 1])))), "got elements past its end"),
    "expanded_to_a_terabyte.pt": (of(state(("a", view(shape=[2**38], strides=[0])))), "got more elements"),
    "shape_of_nine_dimensions.pt": (of(state(("a", view(shape=[1] * 9, strides=[1] * 9)))), "dimensions of a tensor: got 9, expected at most 8"),
    "strides_of_another_length.pt": (of(state(("a", view(strides=[1, 1])))), "strides of a tensor: got 2, expected 1"),
    "shape_as_a_text.pt": (of(state(("a", call("torch._utils", "_rebuild_tensor_v2", storage(), number(0), text("2"), numbers([1]), b"\x89", b"N")))), "size of a tensor: got a text, expected a tuple"),
    "storage_missing.pt": (archive(files=()), "archive/data/0: missing"),
    "storage_of_another_length.pt": (archive(files=[("data/0", DATA + b"1234")]), "length of archive/data/0: got 12, expected 8"),
    "storage_of_two_types.pt": (of(state(("a", view()), ("b", view(of=storage(kind="IntStorage"))))), "got two descriptions that differ"),
    "storage_outside_of_the_folder.pt": (of(state(("a", view(of=storage(key="../0"))))), "archive/data/../0: missing"),
    "many_views_of_one_storage.pt": (archive(pickle(b"(" + storage(elements=2000) + b"q\x091}(" + b"".join(text(f"t{i}") + name("torch._utils", "_rebuild_tensor_v2") + b"(h\x09" + number(0) + numbers([2000]) + numbers([1]) + b"\x89NtR" for i in range(100)) + b"u"), [("data/0", bytes(8000))]), "bytes of all tensors, which share storages"),
    "zip_compressed.pt": (archive(compression=zipfile.ZIP_DEFLATED), "got compression method 8, expected 0"),
    "zip_bomb.pt": (archive(pickle(b"N" * 200_000), compression=zipfile.ZIP_DEFLATED), "got compression method 8, expected 0"),
    "zip_with_a_wrong_checksum.pt": (patched(archive(), text("a"), text("b")), 'checksum of "archive/data.pkl"'),
    "zip_entry_twice.pt": (twice(), "got two, expected one"),
    "zip_entries_overlap.pt": (overlapping(), "entries overlap"),
    "zip_entry_past_the_end.pt": (directory_field(directory_field(archive(), 20, "<I", 10**6), 24, "<I", 10**6), "got 1000000 bytes, expected at most those of the file"),
    "zip_entry_at_another_place.pt": (directory_field(archive(), 42, "<I", 7), "expected its signature"),
    "zip_entry_encrypted.pt": (directory_field(archive(), 8, "<H", 1), "got an encrypted one"),
    "zip_sizes_that_differ.pt": (directory_field(archive(), 24, "<I", 3), "stored bytes, expected its 3"),
    "zip_with_another_local_name.pt": (patched(archive(), b"archive/data.pkl", b"archive/dat_.pkl"), "got another header before its data"),
    "zip_of_65535_entries.pt": (directory_field(archive(), 10, "<H", 65_534, b"PK\x05\x06"), "directory"),
    "zip_directory_past_the_end.pt": (directory_field(archive(), 16, "<I", 2**31, b"PK\x05\x06"), "end of the zip archive's directory"),
    "zip_wide_without_locator.pt": (directory_field(archive(), 16, "<I", 2**32 - 1, b"PK\x05\x06"), "locator of the zip archive"),
    "zip_cut_in_the_directory.pt": (archive()[:-30], "end of the zip archive"),
    "zip_cut_in_the_data.pt": (archive()[:100], "end of the zip archive"),
    "zip_with_bytes_behind.pt": (archive() + b"x", "end of the zip archive"),
    "zip_of_something_else.pt": (patched(archive(), b"data.pkl", b"text.txt", 2), "got a zip archive without data.pkl"),
    "zip_with_two_pickles.pt": (patched(archive(files=[("data/0", DATA), ("dats.pkl", GOOD)]), b"archive/dats.pkl", b"brchive/data.pkl", 2), "data.pkl: got several"),
    "zip_of_torchscript.pt": (archive(files=[("data/0", DATA), ("constants.pkl", b"\x80\x02)."), ("code/__torch__.py", b"")]), "got a TorchScript archive"),
    "byte_order_big.pt": (archive(files=[("data/0", DATA), ("byteorder", b"big")]), 'byte order: got "big"'),
    "byte_order_too_long.pt": (archive(files=[("data/0", DATA), ("byteorder", b"little" * 9)]), "length of byteorder: got 54"),
    "version_of_the_future.pt": (archive(files=[("data/0", DATA), ("version", b"99")]), 'got "99", expected at most 10'),
    "legacy_byte_order_big.pt": (legacy(little=False), 'byte order: got "big"'),
    "legacy_version_of_the_future.pt": (legacy(head=MAGIC + pickle(number(1002))), "version of the layout"),
    "legacy_without_keys.pt": (legacy(keys=()), "length of the file: got"),
    "legacy_key_twice.pt": (legacy(keys=("0", "0"), data=2 * (struct.pack("<q", 2) + DATA)), "got its data twice"),
    "legacy_key_unknown.pt": (legacy(keys=("7",)), "got data without a description"),
    "legacy_elements_that_differ.pt": (legacy(data=struct.pack("<q", 3) + DATA), "got 3, expected 2"),
    "legacy_elements_negative.pt": (legacy(data=struct.pack("<q", -1) + DATA), "got 18446744073709551615, expected 2"),
    "legacy_data_cut.pt": (legacy()[:-1], "got fewer bytes, expected 8"),
    "legacy_data_left_over.pt": (legacy() + b"x", "the end of the data"),
    "legacy_cut_after_the_head.pt": (MAGIC + VERSION, "length of the pickle"),
    "legacy_view_of_a_storage.pt": (legacy(pickle(state(("a", view(of=storage(more=text("1") + number(0) + number(1) + b"\x87")))))), "got a view of another storage"),
    "pickle_without_magic.pt": (GOOD, "got a pickle without the number at the start"),
}
