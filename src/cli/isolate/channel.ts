/** Descriptors that the first program in the sandbox is started with, behind stdio and Node's own channel. */
export const SIGNALS_FD = 4;
export const FILTER_FD = 5;
