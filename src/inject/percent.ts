/** One round of percent-decoding to latin1; what is not `%` and two hex digits stays as it is. */
export function percentDecode(text: string): string {
  if (!text.includes('%')) return text;
  return text.replace(/%[0-9A-Fa-f]{2}/g, triplet =>
    String.fromCharCode(Number.parseInt(triplet.slice(1), 16)),
  );
}
