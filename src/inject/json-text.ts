import { BodyFault } from '../types.ts';

/** Where a value stands in a JSON text, quotes included; `start` = `end`: where it can be added, behind `before`. */
export interface JsonPlace {
  readonly start: number;
  readonly end: number;
  /** What must precede a new value: a comma if others stand there, and its name. */
  readonly before: string;
}

/** Parsers differ in how deep they go (RFC 8259, section 9). */
const MAX_DEPTH = 128;
const OFF_PATH = -1;
const [QUOTE, BACKSLASH, OPEN_BRACE, OPEN_BRACKET] = [0x22, 0x5c, 0x7b, 0x5b];
const [CLOSE_BRACE, CLOSE_BRACKET, COMMA, COLON] = [0x7d, 0x5d, 0x2c, 0x3a];
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
const HEX4 = /^[0-9A-Fa-f]{4}$/;

/**
 * Where a pointer's tokens lead in a JSON text (RFC 8259), valid UTF-8. Undefined: nowhere, and nothing can be added
 * there. Throws BodyFault for what is not JSON, and for names on the way that two parsers may read differently.
 */
export function locate(text: Buffer, tokens: readonly string[]): JsonPlace | undefined {
  return new Scanner(text, tokens).scan();
}

function notJson(): BodyFault {
  return new BodyFault('is not JSON (RFC 8259)', 'Send strict JSON');
}

class Scanner {
  readonly #text: Buffer;
  readonly #tokens: readonly string[];
  #at = 0;
  #depth = 0;
  /** The last string holds neither escapes nor characters outside ASCII. */
  #isPlain = true;
  #place: JsonPlace | undefined;

  constructor(text: Buffer, tokens: readonly string[]) {
    this.#text = text;
    this.#tokens = tokens;
  }

  scan(): JsonPlace | undefined {
    this.#value(0);
    if (this.#at < this.#text.length) throw notJson();
    return this.#place;
  }

  /** A value with the white space around it. `matched`: tokens that lead here; OFF_PATH if they lead elsewhere. */
  #value(matched: number): number {
    this.#space();
    const start = this.#at;
    const first = this.#text[start];
    if (first === OPEN_BRACE || first === OPEN_BRACKET) this.#nested(first, matched);
    else if (first === QUOTE) this.#string();
    else this.#scalar();
    const end = this.#at;
    if (matched === this.#tokens.length) this.#place = { start, end, before: '' };
    this.#space();
    return end;
  }

  #nested(opening: number, matched: number): void {
    if (++this.#depth > MAX_DEPTH) {
      throw new BodyFault(`is nested deeper than ${MAX_DEPTH} levels`, 'Send it flatter');
    }
    this.#at++;
    if (opening === OPEN_BRACE) this.#object(matched);
    else this.#array(matched);
    this.#depth--;
  }

  #object(matched: number): void {
    const token = this.#tokens[matched];
    let end = this.#at;
    let isFound = false;
    const isEmpty = this.#isNext(CLOSE_BRACE);
    if (!isEmpty) {
      do {
        const isHere = this.#isNamed(token);
        if (isHere && isFound) {
          throw new BodyFault(`holds the name ${JSON.stringify(token)} twice in one object`, 'Send it once');
        }
        isFound ||= isHere;
        this.#expect(COLON);
        end = this.#value(isHere ? matched + 1 : OFF_PATH);
      } while (this.#isNext(COMMA));
      this.#expect(CLOSE_BRACE);
    }
    if (token === undefined || isFound || matched !== this.#tokens.length - 1) return;
    this.#place = { start: end, end, before: `${isEmpty ? '' : ','}${JSON.stringify(token)}:` };
  }

  #array(matched: number): void {
    const token = this.#tokens[matched];
    if (this.#isNext(CLOSE_BRACKET)) return;
    let index = 0;
    do {
      this.#value(token === String(index++) ? matched + 1 : OFF_PATH);
    } while (this.#isNext(COMMA));
    this.#expect(CLOSE_BRACKET);
  }

  /** Reads a member's name; whether it is `token`. */
  #isNamed(token: string | undefined): boolean {
    this.#space();
    const start = this.#at;
    this.#string();
    const end = this.#at;
    this.#space();
    if (token === undefined || (this.#isPlain && end - start - 2 !== token.length)) return false;
    const text = JSON.parse(this.#text.toString('utf8', start, end)) as string;
    if (text === token) return true;
    // Go's parser ignores case; a C string ends at a NUL.
    if (fold(text.split('\0', 1)[0] as string) === fold(token)) {
      throw new BodyFault(
        `holds a name that some servers take for ${JSON.stringify(token)}`,
        'Send that name as it is',
      );
    }
    return false;
  }

  #string(): void {
    const text = this.#text;
    if (text[this.#at] !== QUOTE) throw notJson();
    this.#isPlain = true;
    for (let at = this.#at + 1; at < text.length; at++) {
      const c = text[at] as number;
      if (c === QUOTE) {
        this.#at = at + 1;
        return;
      }
      if (c < 0x20) throw notJson();
      if (c > 0x7f) this.#isPlain = false;
      if (c !== BACKSLASH) continue;
      this.#isPlain = false;
      const escaped = String.fromCharCode(text[++at] ?? 0);
      if (escaped !== 'u') {
        if (!'"\\/bfnrt'.includes(escaped)) throw notJson();
      } else {
        if (!HEX4.test(text.toString('latin1', at + 1, at + 5))) throw notJson();
        at += 4;
      }
    }
    throw notJson();
  }

  /** A number, true, false or null. */
  #scalar(): void {
    const start = this.#at;
    while (isScalar(this.#text[this.#at])) this.#at++;
    // Most are one digit long.
    if (this.#at === start + 1 && isDigit(this.#text[start])) return;
    const word = this.#text.toString('latin1', start, this.#at);
    if (word !== 'true' && word !== 'false' && word !== 'null' && !NUMBER.test(word)) throw notJson();
  }

  #space(): void {
    for (;;) {
      const c = this.#text[this.#at];
      if (c !== 0x20 && c !== 0x0a && c !== 0x0d && c !== 0x09) return;
      this.#at++;
    }
  }

  #isNext(char: number): boolean {
    this.#space();
    if (this.#text[this.#at] !== char) return false;
    this.#at++;
    return true;
  }

  #expect(char: number): void {
    if (!this.#isNext(char)) throw notJson();
  }
}

/** A letter, a digit, or one of `+ - .` */
function isScalar(c: number | undefined): boolean {
  if (c === undefined) return false;
  const letter = c | 0x20;
  return (
    (c >= 0x30 && c <= 0x39) || (letter >= 0x61 && letter <= 0x7a) || c === 0x2b || c === 0x2d || c === 0x2e
  );
}

function isDigit(c: number | undefined): boolean {
  return c !== undefined && c >= 0x30 && c <= 0x39;
}

/** The same for all that differs only by case. */
function fold(text: string): string {
  return text.toUpperCase().toLowerCase();
}
