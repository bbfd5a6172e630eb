/** The parts that views are made of. */

import type { ComponentChildren } from 'preact';
import { useEffect, useId, useRef } from 'preact/hooks';

import { Icon, type IconName } from './icons.js';

interface ButtonProps {
  children: ComponentChildren;
  onClick?: () => unknown;
  icon?: IconName;
  /** `primary` for the main action, `danger` for one that ends sessions. */
  kind?: 'primary' | 'danger' | 'quiet';
  small?: boolean;
  disabled?: boolean;
  submit?: boolean;
  /** A name that says more than the visible text. It contains that text. */
  label?: string;
}

export function Button(props: ButtonProps) {
  const { children, onClick, icon, kind, small, disabled, submit, label } = props;
  const classes = ['button', kind, small === true ? 'small' : undefined];
  return (
    <button
      type={submit === true ? 'submit' : 'button'}
      class={classes.filter((name) => name !== undefined).join(' ')}
      onClick={() => void onClick?.()}
      disabled={disabled === true}
      aria-label={label}
    >
      {icon !== undefined && <Icon name={icon} />}
      {children}
    </button>
  );
}

interface PanelProps {
  title: string;
  /** What stands at the right of the title. */
  tools?: ComponentChildren;
  class?: string;
  children: ComponentChildren;
}

export function Panel({ title, tools, class: name, children }: PanelProps) {
  const id = useId();
  return (
    <section class={name === undefined ? 'panel' : `panel ${name}`} aria-labelledby={id}>
      <div class="panel-head">
        <h2 id={id}>{title}</h2>
        {tools}
      </div>
      {children}
    </section>
  );
}

interface DialogProps {
  title: string;
  onClose: () => void;
  /** Returns the content, which can close the dialog. */
  children: (close: () => void) => ComponentChildren;
}

/** A modal dialog. It is open as long as it is part of the page. */
export function Dialog({ title, onClose, children }: DialogProps) {
  const id = useId();
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  // Closing it puts the focus back where it was.
  const close = (): void => dialog.current?.close();
  return (
    <dialog ref={dialog} aria-labelledby={id} onClose={onClose}>
      <div class="dialog-head">
        <h2 id={id}>{title}</h2>
        <button type="button" class="button quiet icon-only" aria-label="Close" onClick={close}>
          <Icon name="cross" />
        </button>
      </div>
      {children(close)}
    </dialog>
  );
}

interface FieldProps {
  label: string;
  name: string;
  value?: string;
  hint?: string;
  required?: boolean;
  numeric?: boolean;
  multiline?: boolean;
  /** Texts to choose from. Others can be entered too. */
  choices?: readonly string[];
  /** Why the last value was refused. */
  error?: string | undefined;
}

export function Field(props: FieldProps) {
  const { label, name, value = '', hint, required, numeric, multiline, choices, error } = props;
  const id = useId();
  const described = [
    hint === undefined ? undefined : `${id}-hint`,
    error === undefined ? undefined : `${id}-error`,
  ];
  const attributes = {
    id,
    name,
    defaultValue: value,
    autoComplete: 'off',
    spellcheck: false,
    'aria-invalid': error !== undefined,
    'aria-required': required === true,
    'aria-describedby': described.filter((item) => item !== undefined).join(' ') || undefined,
  } as const;
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {multiline === true ? (
        <textarea {...attributes} rows={2} />
      ) : (
        <input
          {...attributes}
          type="text"
          inputMode={numeric === true ? 'numeric' : 'text'}
          list={choices === undefined ? undefined : `${id}-choices`}
        />
      )}
      {choices !== undefined && (
        <datalist id={`${id}-choices`}>
          {choices.map((choice) => (
            <option key={choice} value={choice} />
          ))}
        </datalist>
      )}
      {error !== undefined && (
        <p class="field-error" id={`${id}-error`}>
          {error}
        </p>
      )}
      {hint !== undefined && (
        <p class="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
    </div>
  );
}

/** Returns the text of a field. A `FormData` would replace what is not Unicode. */
export function fieldText(form: HTMLFormElement, name: string): string {
  const field = form.elements.namedItem(name);
  if (field instanceof HTMLInputElement || field instanceof HTMLTextAreaElement) {
    return field.value;
  }
  throw new Error(`the form has no field ${name}`);
}

/** Returns the number of a field, or `undefined` if it is empty. A text that is none is NaN. */
export function fieldNumber(form: HTMLFormElement, name: string): number | undefined {
  const text = fieldText(form, name).trim();
  return text === '' ? undefined : Number(text);
}

/** Calls a function with the form instead of sending it. */
export function onSubmit(act: (form: HTMLFormElement) => unknown) {
  return (event: SubmitEvent): void => {
    event.preventDefault();
    void act(event.currentTarget as HTMLFormElement);
  };
}
