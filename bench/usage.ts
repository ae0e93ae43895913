import { parseArgs, type ParseArgsOptionsConfig } from 'node:util';

/** A script's options. Ends the process with `help` for --help, and with what is wrong before it for what is none. */
export function optionsOf<const T extends ParseArgsOptionsConfig>(help: string, options: T) {
  try {
    if (process.argv.includes('--help')) {
      console.log(help);
      return process.exit(0);
    }
    return parseArgs({ options }).values;
  } catch (error) {
    return misused(help, (error as Error).message);
  }
}

export function misused(help: string, why: string): never {
  console.error(`${why}\n\n${help}`);
  return process.exit(2);
}
