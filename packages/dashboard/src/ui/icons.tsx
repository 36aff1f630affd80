/** The page's own icons: 16 × 16, drawn in lines, in the colour of the text. Each stands beside words or in a labelled button. */
import type { ReactNode } from 'react';

export interface IconProps {
  className?: string;
}

function icon(drawing: ReactNode) {
  return function Icon({ className = 'size-4' }: IconProps) {
    return (
      <svg
        viewBox="0 0 16 16"
        className={`shrink-0 ${className}`}
        fill="none"
        stroke="currentColor"
        strokeWidth="1.4"
        strokeLinecap="round"
        strokeLinejoin="round"
        aria-hidden="true"
      >
        {drawing}
      </svg>
    );
  };
}

export const OverviewIcon = icon(<path d="M2.5 9.500h2.500l2-6 2.500 9 1.800-4.500h2.200" />);
export const CatalogueIcon = icon(
  <path d="M3 3.500h4.500v4H3zM9.500 3.500H13v4H9.500zM3 9.500h4.500v3.500H3zM9.500 9.500H13v3.500H9.500z" />,
);
export const EndpointIcon = icon(
  <>
    <circle cx="12" cy="8" r="1.800" />
    <path d="M2 8h8.200M7 4.800 10.200 8 7 11.200" />
  </>,
);
export const DeliveryIcon = icon(<path d="M13.500 2.500 7 9M13.500 2.500 9.300 13.500 7 9 2.500 6.700z" />);
export const EventIcon = icon(<path d="M3 4h10M3 8h10M3 12h6" />);
export const ReplayIcon = icon(<path d="M3 8a5 5 0 1 0 1.700-3.750M3 2.500v2.700h2.700" />);
export const KeyIcon = icon(
  <>
    <circle cx="5.500" cy="10.500" r="2.700" />
    <path d="m7.500 8.500 5.500-5.500M11 5l1.800 1.800" />
  </>,
);
export const AccountIcon = icon(
  <>
    <circle cx="8" cy="5.500" r="2.500" />
    <path d="M3 13.500c.6-2.600 2.500-4 5-4s4.400 1.400 5 4" />
  </>,
);
export const AuditIcon = icon(<path d="M4 2.500h8v11l-2-1.300-2 1.300-2-1.300-2 1.300zM6 6h4M6 8.500h4" />);
export const SystemIcon = icon(
  <path d="M2.500 3.500h11v4h-11zM2.500 8.500h11v4h-11zM5 5.500h.01M5 10.500h.01" />,
);
export const GuideIcon = icon(
  <>
    <circle cx="8" cy="8" r="5.500" />
    <path d="m10.300 5.700-1.300 3.300-3.300 1.300L7 7z" />
  </>,
);
export const PlusIcon = icon(<path d="M8 3v10M3 8h10" />);
export const CloseIcon = icon(<path d="m4 4 8 8M12 4l-8 8" />);
export const CheckIcon = icon(<path d="m3.500 8.500 3 3 6-7" />);
export const CopyIcon = icon(
  <>
    <path d="M5.500 5.500h7v7h-7z" />
    <path d="M3.500 10.500v-7h7" />
  </>,
);
export const EyeIcon = icon(
  <>
    <path d="M1.800 8C3.300 5.300 5.400 4 8 4s4.700 1.300 6.200 4c-1.500 2.700-3.600 4-6.200 4S3.300 10.700 1.800 8z" />
    <circle cx="8" cy="8" r="1.800" />
  </>,
);
export const EyeOffIcon = icon(
  <path d="M2.500 2.500l11 11M6 4.300A7 7 0 0 1 8 4c2.600 0 4.700 1.300 6.200 4a9 9 0 0 1-1.700 2.200M4 5.500A9 9 0 0 0 1.800 8c1.500 2.700 3.600 4 6.200 4 .9 0 1.700-.1 2.400-.4" />,
);
export const WarningIcon = icon(<path d="M8 2.500 14 13H2zM8 6.500v3M8 11.300h.01" />);
export const MenuIcon = icon(<path d="M2.500 4.500h11M2.500 8h11M2.500 11.500h11" />);
export const ChevronDownIcon = icon(<path d="m4.500 6.500 3.500 3.500 3.500-3.500" />);
export const ChevronRightIcon = icon(<path d="m6.500 4.500 3.500 3.500-3.500 3.500" />);
export const ArrowLeftIcon = icon(<path d="M13 8H3M7 4 3 8l4 4" />);
export const SearchIcon = icon(
  <>
    <circle cx="7" cy="7" r="4" />
    <path d="m10 10 3.500 3.500" />
  </>,
);
export const SunIcon = icon(
  <>
    <circle cx="8" cy="8" r="2.700" />
    <path d="M8 1.500v1.300M8 13.200v1.300M1.500 8h1.300M13.200 8h1.300M3.400 3.400l.9.9M11.700 11.700l.9.9M12.600 3.400l-.9.9M4.300 11.700l-.9.9" />
  </>,
);
export const MoonIcon = icon(<path d="M13 9.500A5.500 5.500 0 1 1 6.500 3a4.500 4.500 0 0 0 6.500 6.500z" />);
export const SystemThemeIcon = icon(<path d="M2.500 3.500h11v7.500h-11zM6 13.500h4" />);
export const SignOutIcon = icon(<path d="M6.500 2.500h-3v11h3M10 5l3 3-3 3M13 8H6" />);
export const PlayIcon = icon(<path d="M5 3.500v9L12.500 8z" />);
export const PauseIcon = icon(<path d="M5.500 3.500v9M10.500 3.500v9" />);
export const DotsIcon = icon(<path d="M3.500 8h.01M8 8h.01M12.500 8h.01" />);
export const ExternalIcon = icon(<path d="M9.500 3H13v3.500M13 3 7.500 8.500M11 9.500V13H3V5h3.500" />);
