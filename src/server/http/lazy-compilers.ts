import AjvCompiler, { type ValidatorFactory } from '@fastify/ajv-compiler';
import SerializerSelector, { type SerializerFactory } from '@fastify/fast-json-stringify-compiler';
import type { FastifySchemaCompiler, FastifySerializerCompiler } from 'fastify';

type Compile = FastifySchemaCompiler<unknown>;
type CompileWriter = FastifySerializerCompiler<unknown>;

const buildValidator = AjvCompiler() as unknown as (...of: unknown[]) => Compile;
const buildSerializer = SerializerSelector() as unknown as (...of: unknown[]) => CompileWriter;

/**
 * Fastify's compilers of schemas, at a schema's first use or when `compileAll` is called: all routes' together take a
 * third of a second, and most servers are asked for few of them. A schema that does not compile shows with its first
 * request, so that the tests must ask every route once.
 *
 * With compilers of one's own Fastify leaves names in header schemas as they are: they must be in lower case.
 */
export class LazyCompilers {
  readonly #uncompiled = new Set<() => void>();

  readonly factories = {
    buildValidator: ((...of: unknown[]): Compile => {
      const compile = buildValidator(...of);
      return (route) => {
        const validateOf = this.#once(() => compile(route));
        const lazy: ReturnType<Compile> = (data) => {
          const validate = validateOf();
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
        const writeOf = this.#once(() => compile(route));
        return (data) => writeOf()(data);
      };
    }) as unknown as SerializerFactory,
  };

  /** For a server that has others to answer when a route is asked for the first time: one schema may take 50 ms. */
  compileAll(): void {
    for (const compile of this.#uncompiled) compile();
  }

  #once<Made>(make: () => Made): () => Made {
    let made: Made | undefined;
    const get = () => {
      if (made === undefined) {
        made = make();
        this.#uncompiled.delete(get);
      }
      return made;
    };
    this.#uncompiled.add(get);
    return get;
  }
}
