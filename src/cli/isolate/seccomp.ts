/** What a filter must know of an architecture (linux/audit.h; the system call tables of the kernel). */
interface Architecture {
  readonly audit: number;
  readonly ioctl: number;
  readonly socket: number;
  /** add_key, request_key, keyctl: kernel keyrings are shared with the session outside. */
  readonly keyrings: readonly number[];
}

const ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  x64: { audit: 0xc000003e, ioctl: 16, socket: 41, keyrings: [248, 249, 250] },
  arm64: { audit: 0xc00000b7, ioctl: 29, socket: 198, keyrings: [217, 218, 219] },
};

/** Opens sockets past any filter; the number is the same everywhere. */
const IO_URING_SETUP = 425;
/** Bit of x32's system calls, which are x64's under other numbers. */
const X32 = 0x40000000;
/** They type into the terminal, on behalf of the shell outside (ioctl_tty(2)). */
const TERMINAL_INPUT = [0x5412 /* TIOCSTI */, 0x541c /* TIOCLINUX */];
/**
 * AF_UNIX, AF_INET, AF_INET6, AF_NETLINK: what a network namespace confines. AF_VSOCK, for one, reaches the machine's
 * hypervisor from every namespace.
 */
const FAMILIES = [1, 2, 10, 16];

const EPERM = 1;
const ENOSYS = 38;
const EAFNOSUPPORT = 97;

// Offsets in struct seccomp_data (seccomp(2)). Of an argument the low half counts: it is what the kernel takes for an int.
const NUMBER = 0;
const ARCHITECTURE = 4;
const argument = (index: number): number => 16 + 8 * index;

// Classic BPF (linux/filter.h).
const LOAD = 0x20;
const IF_EQUAL = 0x15;
const IF_AT_LEAST = 0x35;
const RETURN = 0x06;
const ALLOW = 0x7fff0000;
const ERRNO = 0x00050000;

type Instruction = readonly [code: number, value: number, ifTrue?: number, ifFalse?: number];

const fail = (errno: number): Instruction => [RETURN, ERRNO | errno];
/** Fails if the loaded value equals `value`; else goes on behind it. */
const failIf = (value: number, errno: number): Instruction[] => [[IF_EQUAL, value, 0, 1], fail(errno)];
/** Runs `body` if the loaded value equals `value`. */
const when = (value: number, body: readonly Instruction[]): Instruction[] => [
  [IF_EQUAL, value, 0, body.length],
  ...body,
];

/**
 * The filter that closes what namespaces leave open, as bwrap reads it; undefined for an architecture that it does not
 * know. Whatever is not named passes.
 */
export function seccompFilter(arch: string): Buffer | undefined {
  const found = ARCHITECTURES[arch];
  if (!found) return undefined;
  return assemble([
    [LOAD, ARCHITECTURE],
    [IF_EQUAL, found.audit, 1, 0],
    fail(ENOSYS), // a 32-bit program, whose system calls have other numbers
    [LOAD, NUMBER],
    [IF_AT_LEAST, X32, 0, 1],
    fail(ENOSYS),
    ...[...found.keyrings, IO_URING_SETUP].flatMap(number => failIf(number, ENOSYS)),
    ...when(found.ioctl, [
      [LOAD, argument(1)],
      ...TERMINAL_INPUT.flatMap(request => failIf(request, EPERM)),
      [RETURN, ALLOW],
    ]),
    ...when(found.socket, [
      [LOAD, argument(0)],
      ...FAMILIES.flatMap(family => when(family, [[RETURN, ALLOW]])),
      fail(EAFNOSUPPORT),
    ]),
    [RETURN, ALLOW],
  ]);
}

/** struct sock_filter, little-endian on both architectures. */
function assemble(program: readonly Instruction[]): Buffer {
  const bytes = Buffer.alloc(program.length * 8);
  for (const [i, [code, value, ifTrue = 0, ifFalse = 0]] of program.entries()) {
    bytes.writeUInt16LE(code, i * 8);
    bytes.writeUInt8(ifTrue, i * 8 + 2);
    bytes.writeUInt8(ifFalse, i * 8 + 3);
    bytes.writeUInt32LE(value >>> 0, i * 8 + 4);
  }
  return bytes;
}
