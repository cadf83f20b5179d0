import AjvCompiler, { type ValidatorFactory } from '@fastify/ajv-compiler';
import SerializerSelector, { type SerializerFactory } from '@fastify/fast-json-stringify-compiler';
import type { FastifySchemaCompiler, FastifySerializerCompiler } from 'fastify';

type Compile = FastifySchemaCompiler<unknown>;
type CompileWriter = FastifySerializerCompiler<unknown>;

const buildValidator = AjvCompiler() as unknown as (...of: unknown[]) => Compile;
const buildSerializer = SerializerSelector() as unknown as (...of: unknown[]) => CompileWriter;

/**
 * Fastify's compilers of schemas, at a schema's first use: all routes' together take a third of a second of every
 * start, and most servers are asked for few of them. A schema that does not compile shows with its first request, so
 * that the tests must ask every route once.
 *
 * With compilers of one's own Fastify leaves names in header schemas as they are: they must be in lower case.
 */
export const lazyCompilers = {
  buildValidator: ((...of: unknown[]): Compile => {
    const compile = buildValidator(...of);
    return (route) => {
      let validate: ReturnType<Compile> | undefined;
      const lazy: ReturnType<Compile> = (data) => {
        validate ??= compile(route);
        const result = validate(data);
        lazy.errors = validate.errors ?? null;
        return result;
      };
      return lazy;
    };
  }) as unknown as ValidatorFactory,

  buildSerializer: ((...of: unknown[]): CompileWriter => {
    const compile = buildSerializer(...of);
    return (route) => {
      let write: ReturnType<CompileWriter> | undefined;
      return (data) => {
        write ??= compile(route);
        return write(data);
      };
    };
  }) as unknown as SerializerFactory,
};
