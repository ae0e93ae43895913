import { describe, expect, test } from 'vitest';
import { parseShape } from '../../src/inject/shape.ts';
import { standsFor, stubVariables } from '../../src/inject/stands-for.ts';
import { StubCounter } from '../../src/inject/stub.ts';
import { Patterns, Scrubber } from '../../src/scrub/index.ts';
import { Secret } from '../../src/secret.ts';
import { keyOf } from './make.ts';

const key = keyOf('stands-for');
const stub = key.mint(parseShape('aws'));
const id = key.accessKeyId(stub);

describe('the stub of AWS keys', () => {
  test('looks like a secret access key, and makes an access key id that looks like one', () => {
    expect(stub).toMatch(/^[A-Za-z0-9]{40}$/);
    expect(id).toMatch(/^AKIA[A-Z2-7]{16}$/);
    expect(key.accessKeyId(stub)).toBe(id);
    expect(key.sessionToken(stub)).toMatch(/^IQoJb3JpZ2luX2Vj[A-Za-z0-9]{20}$/);
    expect(key.count(`${stub} ${id} ${key.sessionToken(stub)}`)).toBe(3);
    expect(key.accessKeyId(key.mint(parseShape('aws')))).not.toBe(id);
  });

  test.each([
    ['alone', id],
    ['in a credential scope', `Credential=${id}/20260101/eu-west-1/s3/aws4_request`],
    ['in a URL', `?X-Amz-Credential=${id}%2F20260101`],
    ['percent-encoded', id.replaceAll('A', '%41')],
    ['in base64', Buffer.from(`x${id}`).toString('base64')],
    ['in base64 as a user', Buffer.from(`${id}:`).toString('base64')],
  ])('is known by its id %s', (_, text) => {
    expect(key.count(text)).toBe(1);
    if (text.includes('%41')) return;
    const counter = new StubCounter(key);
    for (const byte of Buffer.from(text)) counter.feed(Buffer.from([byte]));
    expect(counter.seen).toBe(1);
  });

  test.each([
    ['another gate’s', keyOf('other').accessKeyId(stub)],
    ['a changed one', id.replace(/.$/, last => (last === 'A' ? 'B' : 'A'))],
    ['a cut one', id.slice(0, -1)],
    ['one of AWS', 'AKIAIOSFODNN7EXAMPLE'],
  ])('is not %s', (_, text) => {
    expect(key.count(text)).toBe(0);
  });

  test('stands in the variables of the SDKs, without a session token', () => {
    expect(stubVariables({ env: 'AWS_ACCESS_KEY_ID', shape: 'aws' }, stub, key)).toEqual({
      AWS_ACCESS_KEY_ID: id,
      AWS_SECRET_ACCESS_KEY: stub,
      AWS_SESSION_TOKEN: '',
    });
    expect(stubVariables({ env: 'DEV_ACCESS_KEY_ID', shape: 'aws' }, stub, key)).toEqual({
      DEV_ACCESS_KEY_ID: id,
      DEV_SECRET_ACCESS_KEY: stub,
      DEV_SESSION_TOKEN: '',
    });
    expect(stubVariables({ env: 'AWS_ACCESS_KEY_ID', shape: 'aws-session' }, stub, key)).toEqual({
      AWS_ACCESS_KEY_ID: id,
      AWS_SECRET_ACCESS_KEY: stub,
      AWS_SESSION_TOKEN: key.sessionToken(stub),
    });
    expect(stubVariables({ env: 'TOKEN', shape: 'generic' }, stub, key)).toEqual({ TOKEN: stub });
    expect(stubVariables({ shape: 'aws' }, stub, key)).toEqual({});
  });
});

const KEYS = {
  AccessKeyId: 'AKIAREALREALREALREAL',
  SecretAccessKey: 'k/+'.repeat(13),
  SessionToken: 'IQoJ/+b3JpZ2==',
};

describe('AWS keys as a secret', () => {
  test('have their parts, which cannot be printed either', () => {
    const { awsKeys } = new Secret('aws', JSON.stringify({ Version: 1, ...KEYS, Expiration: 'x' }), '7');
    expect(awsKeys?.id.reveal()).toBe(KEYS.AccessKeyId);
    expect(awsKeys?.secretKey.reveal()).toBe(KEYS.SecretAccessKey);
    expect(awsKeys?.token?.reveal()).toBe(KEYS.SessionToken);
    expect(JSON.stringify(awsKeys)).toBe(
      '{"id":"[secret aws#AccessKeyId]","secretKey":"[secret aws]","token":"[secret aws#SessionToken]"}',
    );
    expect(awsKeys?.id.version).toBe('7');
  });

  test.each([
    ['without a token', { ...KEYS, SessionToken: undefined }],
    ['with null for a token', { ...KEYS, SessionToken: null }],
    ['with an empty token', { ...KEYS, SessionToken: '' }],
  ])('may come %s', (_, keys) => {
    expect(new Secret('aws', JSON.stringify(keys)).awsKeys?.token).toBeUndefined();
  });

  test.each([
    ['an id that would end the credential scope', { ...KEYS, AccessKeyId: 'AKIA/REALREAL' }],
    ['a short key', { ...KEYS, SecretAccessKey: 'short' }],
    ['a key with a line break', { ...KEYS, SecretAccessKey: `${KEYS.SecretAccessKey}\r\n` }],
    ['no id', { ...KEYS, AccessKeyId: undefined }],
    ['a token that is none', { ...KEYS, SessionToken: 7 }],
    ['a list', [KEYS]],
    ['text', '"SecretAccessKey"'],
  ])('are not %s', (_, value) => {
    expect(new Secret('aws', JSON.stringify(value)).awsKeys).toBeUndefined();
  });

  test('are removed from an answer part by part, each for the stub’s own', () => {
    const patterns = new Patterns([new Secret('aws', JSON.stringify(KEYS))]);
    const stubs = new Map([['aws', stub]]);
    const scrubber = new Scrubber(patterns, name => standsFor({ stubs }, name, key));
    expect(scrubber.text(JSON.stringify(KEYS))).toBe(
      JSON.stringify({ AccessKeyId: id, SecretAccessKey: stub, SessionToken: key.sessionToken(stub) }),
    );
    for (const value of Object.values(KEYS))
      for (const spelled of [
        encodeURIComponent(value),
        Buffer.from(value).toString('hex'),
        value.replaceAll('/', '\\/'),
      ])
        expect(patterns.find(Buffer.from(`x ${spelled} x`))).toBeDefined();
  });
});
