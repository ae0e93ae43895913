/**
 * Node's HTTP. An `import` reads all exports of `node:http`, and `WebSocket`, one of them, loads a whole client (undici) to
 * be read: a tenth of a start.
 */
export const { Agent, createServer, request, STATUS_CODES } = process.getBuiltinModule('node:http');
